//! The limit of events per source address (RATE_LIMIT_ENABLED), in this process.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sources remembered; beyond it, those without events in the last two windows are forgotten, then all.
const SOURCES_MAX: usize = 100_000;

/// Counts events per source in a window that slides over two fixed ones: the previous window counts for the part of it
/// that still lies within the last window's length.
#[derive(Debug)]
pub(crate) struct SourceLimiter {
    events_max: u64,
    window: Duration,
    start: Instant,
    counts: Mutex<HashMap<IpAddr, Counts>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Number of the window that `current` counts.
    window: u64,
    current: u64,
    previous: u64,
}

impl SourceLimiter {
    pub(crate) fn new(events_max: u64, window: Duration) -> Self {
        Self { events_max, window, start: Instant::now(), counts: Mutex::default() }
    }

    /// Seconds until this source may send again, if it may not now.
    pub(crate) fn wait_s(&self, source: IpAddr, now: Instant) -> Option<u64> {
        let (window, passed) = self.position(now);
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.get(&source)?.at(window);
        let weighted = counts.current as f64 + counts.previous as f64 * (1.0 - passed);
        if weighted < self.events_max as f64 {
            return None;
        }
        Some((self.window.as_secs_f64() * (1.0 - passed)).ceil().max(1.0) as u64)
    }

    /// Counts events of a source.
    pub(crate) fn count(&self, source: IpAddr, events: u64, now: Instant) {
        let (window, _) = self.position(now);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= SOURCES_MAX && !counts.contains_key(&source) {
            counts.retain(|_, counts| counts.window + 1 >= window);
            if counts.len() >= SOURCES_MAX {
                counts.clear();
            }
        }
        let entry = counts.entry(source).or_default();
        *entry = entry.at(window);
        entry.current += events;
    }

    /// The number of the current window and the part of it that has passed.
    fn position(&self, now: Instant) -> (u64, f64) {
        let windows = now.saturating_duration_since(self.start).as_secs_f64() / self.window.as_secs_f64();
        (windows as u64, windows.fract())
    }
}

impl Counts {
    fn at(self, window: u64) -> Self {
        match window.saturating_sub(self.window) {
            0 => self,
            1 => Self { window, current: 0, previous: self.current },
            _ => Self { window, current: 0, previous: 0 },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_limited_alone_and_let_in_again() {
        let limiter = SourceLimiter::new(10, Duration::from_mins(1));
        let start = limiter.start;
        let after = |seconds| start + Duration::from_secs(seconds);
        let (noisy, quiet) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        limiter.count(noisy, 9, start);
        assert_eq!(limiter.wait_s(noisy, start), None);
        limiter.count(noisy, 3, start);
        assert_eq!(limiter.wait_s(noisy, start), Some(60));
        assert_eq!(limiter.wait_s(quiet, start), None);
        assert_eq!(limiter.wait_s(noisy, after(61)), Some(59), "12 events, nearly all within the last minute");
        assert_eq!(limiter.wait_s(noisy, after(75)), None, "three quarters of 12 are 9");
        assert_eq!(limiter.wait_s(noisy, after(600)), None);
    }
}
