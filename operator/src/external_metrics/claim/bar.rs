//! Something that failed for good and is left alone for a while, longer each time.

use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::{Timestamp, Unit};
use tokio::time::Instant;

pub(super) struct Bar {
    least: Duration,
    most: Duration,
    next: Duration,
    barred: Option<(Instant, String)>,
}

impl Bar {
    pub(super) fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, next: least, barred: None }
    }

    /// It failed once more; `why` in words, to which it is added when it is tried again.
    pub(super) fn set(&mut self, now: Instant, why: &str) {
        let at = Timestamp::try_from(SystemTime::now() + self.next).unwrap_or_default();
        let at = at.round(Unit::Second).unwrap_or(at);
        let why = format!("{why}; it is tried again at {at}, or when the operator is restarted");
        tracing::error!("{why}");
        self.barred = Some((now + self.next, why));
        self.next = (self.next * 2).min(self.most);
    }

    /// It has succeeded.
    pub(super) fn reset(&mut self) {
        self.next = self.least;
        self.barred = None;
    }

    /// Whether it is left alone at this moment.
    pub(super) fn holds(&mut self, now: Instant) -> bool {
        self.barred.take_if(|(until, _)| *until <= now);
        self.barred.is_some()
    }

    /// Why it is left alone.
    pub(super) fn why(&self) -> Option<&str> {
        self.barred.as_ref().map(|(_, why)| why.as_str())
    }
}
