//! Reliable queue over Redis: push, take a batch under a lease, finish, janitor, heartbeats, totals.
//!
//! Data leaves a queue only by a take, and a batch only by a finish; both are one script. Whoever
//! dies in between lets a lease lapse, and the next janitor takes the whole batch over.

mod connect;
mod connection;
mod dedicated;
pub mod dlq;
mod doorbell;
pub mod envelope;
mod error;
mod finish;
pub mod heartbeat;
mod ids;
mod janitor;
mod keys;
mod lease;
pub mod moog;
mod moog_reply;
mod moog_state;
mod preflight;
mod push;
mod script;
pub mod served_rules;
pub mod settings;
mod subscription;
mod summary;
pub mod totals;

pub use connect::{Passwords, RedisSettings, RedisTls};
pub use connection::Redis;
pub use dedicated::Dedicated;
pub use doorbell::Doorbell;
pub use error::{RedisError, RedisErrorKind};
pub use finish::{Finished, Json, MetaWanted, Outbox, UnhandledGroup, UnhandledLimits};
pub use ids::{BatchId, EventId, Fence, WorkerId};
pub use janitor::{Recovered, TRIES_MAX, Takeover};
pub use keys::{KeyOverrides, Keys, Role};
pub use lease::{Batch, Lease, Leases, Phase, TAKE_BYTES_MAX, TAKE_COUNT_MAX, TakeLimits, Taken};
pub use moog_state::{ForwarderBeat, MoogState};
pub use preflight::{Preflight, Refusal};
pub use push::{Ack, COMMIT_TTL_S, Idempotency, PushError, Pushed, Pusher, Request};
pub use redis;
pub use script::{Call, Script};
pub use subscription::{Notice, Subscription};
pub use summary::summary_keys;
pub use totals::{QueueState, Totals};
