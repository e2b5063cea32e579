//! Counts searches that ended at their step limit, and suspends a rule that does so too often.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Hits within [`WINDOW_SECONDS`] that suspend a rule.
const HITS_MAX: u32 = 100;
const WINDOW_SECONDS: u64 = 60;
/// A suspended rule is tried again after this time: the messages that hurt it may be gone.
const SUSPENSION_SECONDS: u64 = 600;

/// State of one rule. Times are seconds of the caller's monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct StepLimit {
    hits: AtomicU64,
    window_start: AtomicU64,
    window_hits: AtomicU32,
    suspended_until: AtomicU64,
}

impl StepLimit {
    /// Counts a hit; every hundredth within a minute begins a suspension.
    pub(super) fn hit(&self, now_seconds: u64) {
        self.hits.fetch_add(1, Relaxed);
        if now_seconds.saturating_sub(self.window_start.load(Relaxed)) >= WINDOW_SECONDS {
            self.window_start.store(now_seconds, Relaxed);
            self.window_hits.store(0, Relaxed);
        }
        if self.window_hits.fetch_add(1, Relaxed) + 1 >= HITS_MAX {
            self.window_hits.store(0, Relaxed);
            self.suspended_until.store(now_seconds + SUSPENSION_SECONDS, Relaxed);
        }
    }

    /// Whether the rule is not to be tried now.
    pub(super) fn is_suspended(&self, now_seconds: u64) -> bool {
        now_seconds < self.suspended_until.load(Relaxed)
    }

    /// All hits so far.
    pub(super) fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_hits_in_a_minute_suspend_for_ten_minutes() {
        let limit = StepLimit::default();
        (0..99).for_each(|_| limit.hit(1_000));
        assert!(!limit.is_suspended(1_000));
        limit.hit(1_059);
        assert!(limit.is_suspended(1_059) && limit.is_suspended(1_658));
        assert!(!limit.is_suspended(1_659));
        assert_eq!(limit.hits(), 100);
    }

    #[test]
    fn hits_of_different_minutes_do_not_add_up() {
        let limit = StepLimit::default();
        for minute in 1..100 {
            (0..99).for_each(|_| limit.hit(minute * 60));
        }
        assert!(!limit.is_suspended(6_000));
    }
}
