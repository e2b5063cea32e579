//! What the requests of one process, and of one of its threads, share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mutt_secrets::Secrets;
use prometheus::Registry;
use tokio::sync::Semaphore;

use super::commit::{Committer, QueueLink};
use super::gate::Gate;
use super::metrics::Metrics;
use super::scan::Known;
use super::sources::SourceLimiter;
use crate::server::Health;

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) known: Known,
    pub(crate) body_bytes_max: usize,
    pub(crate) dlq_max: u64,
    pub(crate) secrets: Secrets,
    pub(crate) gate: Arc<Gate>,
    pub(crate) sources: Option<SourceLimiter>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Health,
    pub(crate) registry: Registry,
    /// Places for large bodies.
    pub(crate) large: Semaphore,
    /// Redis was seen and may be used: right version, no eviction, INGEST_ACK possible.
    pub(crate) checked: AtomicBool,
}

impl Shared {
    #[inline]
    pub(crate) fn is_checked(&self) -> bool {
        self.checked.load(Ordering::Relaxed)
    }
}

/// What one thread has of its own: its connection to Redis and its group commit.
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) committer: Committer,
    pub(crate) queue: QueueLink,
}
