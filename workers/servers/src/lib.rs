//! Private servers for `mutt dev`, `mutt bench` and the tests: Redis, PostgreSQL, a webhook receiver and a
//! TCP proxy that breaks connections. Each listens on 127.0.0.1, keeps its files in a directory of its own,
//! and ends with the value that stands for it or, at the latest, with this process.

mod directory;
mod error;
mod ports;
mod postgres;
mod process;
mod proxy;
mod redis;
mod resp;
mod tls;
mod webhook;

pub use directory::{ServerDirectory, sweep_abandoned};
pub use error::ServerError;
pub use ports::free_port;
pub use postgres::{PostgresOptions, PostgresServer};
pub use process::{ManagedChild, find_program};
pub use proxy::{Fault, FaultProxy};
pub use redis::{RedisOptions, RedisServer};
pub use resp::Reply;
pub use tls::TlsFiles;
pub use webhook::{Answer, Received, Webhook};
