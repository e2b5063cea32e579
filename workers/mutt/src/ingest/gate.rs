//! Backpressure: whether more events may come in, decided before a body is parsed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// While closed, the gate reopens at this part of a limit, so that it does not flutter.
const REOPEN_PERCENT: u64 = 90;

/// Depth and memory of the queue against their limits. Values are fed by push replies and by watchers; all loads and
/// stores are independent figures, so relaxed order suffices.
#[derive(Debug)]
pub(crate) struct Gate {
    depth: AtomicU64,
    depth_max: AtomicU64,
    /// Events accepted here that Redis has not confirmed yet.
    pending: AtomicU64,
    depth_closed: AtomicBool,
    bytes: AtomicU64,
    /// 0 = not known yet.
    bytes_max: AtomicU64,
    bytes_closed: AtomicBool,
}

/// Why the gate is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) queue_depth: u64,
    pub(crate) queue_limit: u64,
    /// Bytes used and their limit, where memory is what is full.
    pub(crate) bytes: Option<(u64, u64)>,
}

impl Gate {
    pub(crate) fn new(depth_max: u64) -> Self {
        Self {
            depth: AtomicU64::new(0),
            depth_max: AtomicU64::new(depth_max),
            pending: AtomicU64::new(0),
            depth_closed: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            bytes_max: AtomicU64::new(0),
            bytes_closed: AtomicBool::new(false),
        }
    }

    /// Refuses while the queue is full in entries or bytes.
    #[inline]
    pub(crate) fn admit(&self) -> Result<(), Closed> {
        let depth = self.depth.load(Relaxed) + self.pending.load(Relaxed);
        let depth_max = self.depth_max.load(Relaxed);
        let (bytes, bytes_max) = (self.bytes.load(Relaxed), self.bytes_max.load(Relaxed));
        let depth_full = is_full(&self.depth_closed, depth, depth_max);
        let bytes_full = bytes_max > 0 && is_full(&self.bytes_closed, bytes, bytes_max);
        if !depth_full && !bytes_full {
            return Ok(());
        }
        let bytes = (!depth_full).then_some((bytes, bytes_max));
        Err(Closed { queue_depth: depth, queue_limit: depth_max, bytes })
    }

    pub(crate) fn depth(&self) -> u64 {
        self.depth.load(Relaxed)
    }

    pub(crate) fn set_depth(&self, depth: u64) {
        self.depth.store(depth, Relaxed);
    }

    pub(crate) fn set_depth_max(&self, depth_max: u64) {
        if self.depth_max.swap(depth_max, Relaxed) != depth_max {
            tracing::info!(depth_max, "limit of the ingest queue");
        }
    }

    pub(crate) fn set_bytes(&self, bytes: u64, bytes_max: u64) {
        self.bytes.store(bytes, Relaxed);
        self.bytes_max.store(bytes_max, Relaxed);
    }

    /// Events on their way to Redis.
    pub(crate) fn add_pending(&self, events: u64) {
        self.pending.fetch_add(events, Relaxed);
    }

    pub(crate) fn sub_pending(&self, events: u64) {
        self.pending.fetch_sub(events, Relaxed);
    }
}

#[inline]
fn is_full(closed: &AtomicBool, value: u64, max: u64) -> bool {
    let was_closed = closed.load(Relaxed);
    let full =
        if was_closed { u128::from(value) * 100 > u128::from(max) * u128::from(REOPEN_PERCENT) } else { value >= max };
    if full != was_closed {
        closed.store(full, Relaxed);
    }
    full
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn closes_at_the_limit_and_reopens_at_nine_tenths() {
        let gate = Gate::new(100);
        gate.set_depth(99);
        assert_eq!(gate.admit(), Ok(()));
        gate.add_pending(1);
        assert_eq!(gate.admit(), Err(Closed { queue_depth: 100, queue_limit: 100, bytes: None }));
        gate.sub_pending(1);
        gate.set_depth(91);
        assert!(gate.admit().is_err());
        gate.set_depth(90);
        assert_eq!(gate.admit(), Ok(()));
        gate.set_depth(99);
        assert_eq!(gate.admit(), Ok(()));
        gate.set_depth_max(50);
        assert!(gate.admit().is_err());
    }

    #[test]
    fn memory_closes_it_too() {
        let gate = Gate::new(100);
        gate.set_bytes(80, 80);
        assert_eq!(gate.admit(), Err(Closed { queue_depth: 0, queue_limit: 100, bytes: Some((80, 80)) }));
        gate.set_bytes(72, 80);
        assert_eq!(gate.admit(), Ok(()));
        gate.set_bytes(1_000, 0);
        assert_eq!(gate.admit(), Ok(()), "an unknown limit never closes");
    }
}
