//! The forwarder role: alerts to the webhook within the shared rate limit.

mod backoff;
mod client;
mod delivery;
mod engine;
mod metrics;
mod payload;
mod verdict;

use std::time::Duration;

use mutt_queue::moog::{BreakerPolicy, Rate};

/// How often and how soon a failed alert is tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retries {
    /// Attempts after the first.
    pub(crate) attempts_max: u32,
    /// Wait before the first retry.
    pub(crate) base: Duration,
    /// Longest wait of our own.
    pub(crate) max: Duration,
    /// Between probes of a pause.
    pub(crate) pause_probe: Duration,
}

/// What may change while a forwarder runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Live {
    /// Shared rate limit.
    pub(crate) rate: Rate,
    /// Shared breaker.
    pub(crate) breaker: BreakerPolicy,
}
