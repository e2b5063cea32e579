//! The last reading of one pipeline's queues: fresh for a moment, held for a while when no newer one can be had, an error
//! after that. Never 0: an outage must not look like an empty queue, or a HorizontalPodAutoscaler would scale down.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Reading;

/// How old a reading may be, and how long one may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Younger readings, and failures, are given again without asking Redis.
    pub fresh: Duration,
    /// A reading is given this long when no newer one can be had.
    pub hold: Duration,
    /// Bound of one reading. Small, since an HPA controller has few workers, and those who wait here serve nobody else; but
    /// longer than Redis is given for connecting and for an answer (2 s), so that those limits end a
    /// silent connection, and a new one is made.
    pub read: Duration,
    /// Secrets are read again after this time.
    pub login: Duration,
    /// Bound of reading them.
    pub login_read: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(1),
            hold: Duration::from_secs(60),
            read: Duration::from_secs(5),
            login: Duration::from_secs(30),
            login_read: Duration::from_secs(2),
        }
    }
}

/// What the last attempts came to.
#[derive(Default)]
pub(super) struct Held {
    last: Option<Arc<Reading>>,
    /// When the newest attempt failed and why; `None` = it succeeded.
    failed: Option<(Instant, String)>,
}

/// An answer: a reading, and whether a newer one could not be had; or why there is none.
pub(super) type Answer = Result<(Arc<Reading>, bool), String>;

impl Held {
    /// The answer, if nothing has to be read for it.
    pub(super) fn fresh(&self, now: Instant, limits: &Limits) -> Option<Answer> {
        let newest = match (&self.failed, &self.last) {
            (Some((at, _)), _) => *at,
            (None, Some(last)) => last.taken,
            (None, None) => return None,
        };
        (now.saturating_duration_since(newest) < limits.fresh).then(|| self.answer(now, limits))
    }

    pub(super) fn succeeded(&mut self, reading: Reading) {
        self.last = Some(Arc::new(reading));
        self.failed = None;
    }

    /// Whether this is the first failure after a success.
    pub(super) fn failed(&mut self, at: Instant, cause: String) -> bool {
        self.failed.replace((at, cause)).is_none()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn answer(&self, now: Instant, limits: &Limits) -> Answer {
        let cause = self.failed.as_ref().map(|(_, cause)| cause);
        match (&self.last, cause) {
            (Some(last), None) => Ok((last.clone(), false)),
            (Some(last), Some(cause)) => {
                // No age in the words: they go into conditions, which would be written again with each answer.
                let is_held = now.saturating_duration_since(last.taken) < limits.hold;
                if is_held { Ok((last.clone(), true)) } else { Err(cause.clone()) }
            }
            (None, Some(cause)) => Err(cause.clone()),
            (None, None) => Err("they have not been read yet".to_owned()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn reading(taken: Instant) -> Reading {
        Reading { queues: mutt_queue::Totals::default().queues(), at: k8s_openapi::jiff::Timestamp::UNIX_EPOCH, taken }
    }

    #[test]
    fn a_reading_is_fresh_then_held_then_an_error_and_comes_back() {
        let (limits, begin) = (Limits::default(), Instant::now());
        let at = |seconds: f64| begin + Duration::from_secs_f64(seconds);
        let mut held = Held::default();
        assert!(held.fresh(begin, &limits).is_none());
        assert!(held.failed(begin, "away".to_owned()), "the first failure is news");
        assert_eq!(held.fresh(at(0.5), &limits).unwrap().unwrap_err(), "away", "a failure is not asked again at once");
        assert!(held.fresh(at(1.0), &limits).is_none());
        held.succeeded(reading(at(1.0)));
        assert!(!held.fresh(at(1.9), &limits).unwrap().unwrap().1);
        assert!(held.fresh(at(2.0), &limits).is_none());
        assert!(held.failed(at(2.0), "away".to_owned()));
        assert!(!held.failed(at(3.0), "away".to_owned()));
        let (last, is_held) = held.answer(at(60.9), &limits).unwrap();
        assert!(is_held && last.taken == at(1.0));
        assert!(!held.failed(at(61.0), "away".to_owned()));
        assert_eq!(held.answer(at(61.0), &limits).unwrap_err(), "away");
        held.succeeded(reading(at(62.0)));
        assert!(!held.answer(at(62.0), &limits).unwrap().1);
    }
}
