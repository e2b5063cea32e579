//! What the two threads of a worker share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use mutt_queue::{BatchId, Lease};

use super::metrics::Metrics;
use crate::rulesource::{Active, Triggers};
use crate::server::{Dependency, Health};

/// State of the worker, seen by both threads.
pub(crate) struct Board {
    /// Health with the main loop's turns.
    pub health: Health,
    /// Redis, as last seen by either thread.
    pub redis: Dependency,
    /// PostgreSQL, as last seen by either thread.
    pub postgres: Dependency,
    /// The metrics.
    pub metrics: Metrics,
    /// The rule set in use.
    pub active: Arc<ArcSwapOption<Active>>,
    /// Start of the worker's monotonic clock, by which rules are suspended.
    pub started: Instant,
    /// Makes the rule keeper look.
    pub triggers: Arc<Triggers>,
    held: Mutex<HashMap<BatchId, Lease>>,
}

impl Board {
    /// Nothing is held, nothing is connected, no rules.
    pub(crate) fn new(health: Health, metrics: Metrics) -> Self {
        Self {
            redis: health.dependency("redis"),
            postgres: health.dependency("postgres"),
            health,
            metrics,
            active: Arc::default(),
            triggers: Arc::default(),
            started: Instant::now(),
            held: Mutex::default(),
        }
    }

    /// A batch whose lease is to be renewed from now on.
    pub(crate) fn hold(&self, lease: &Lease) {
        self.lock().insert(lease.batch, lease.clone());
    }

    /// The batch is over, or another worker's.
    pub(crate) fn release(&self, lease: &Lease) {
        let mut held = self.lock();
        // Under a newer fence it is held by another lane of this very worker.
        if held.get(&lease.batch) == Some(lease) {
            held.remove(&lease.batch);
        }
    }

    /// Whether the lease is still renewed.
    pub(crate) fn is_held(&self, lease: &Lease) -> bool {
        self.lock().get(&lease.batch) == Some(lease)
    }

    /// All leases to be renewed.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<BatchId, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
