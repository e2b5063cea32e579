//! What keeps the controllers running: arguments, lease, supervision, health, metrics.

pub mod args;
pub mod check;
pub mod client;
pub mod context;
pub mod discovery;
pub mod error;
pub mod events;
pub mod health;
pub mod http;
pub mod leadership;
pub mod lease;
pub mod metrics;
pub mod scope;
pub mod shutdown;
pub mod supervise;
pub mod telemetry;

pub use args::Args;
pub use context::Context;
pub use error::Fatal;
pub use shutdown::Shutdown;
