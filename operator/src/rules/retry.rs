//! Pauses of a pipeline's task.

use std::time::Duration;

use tokio::time::Instant;

use super::redis::Trouble;

/// First and longest pause after something in Kubernetes was not as it should be.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Growing pauses after troubles in Kubernetes.
#[derive(Default)]
pub(super) struct Retry {
    failures: u32,
    not_before: Option<(Instant, Trouble)>,
}

impl Retry {
    /// What is waited after, if so.
    pub(super) fn waits(&self, now: Instant) -> Option<Trouble> {
        let (_, trouble) = self.not_before.as_ref().filter(|(until, _)| now < *until)?;
        Some(trouble.clone())
    }

    /// Another trouble.
    pub(super) fn failed(&mut self, trouble: Trouble) {
        let pause = RETRY.0.saturating_mul(1 << self.failures.min(8)).min(RETRY.1);
        self.failures += 1;
        self.not_before = Some((Instant::now() + pause.mul_f64(0.75 + 0.25 * fastrand::f64()), trouble));
    }
}
