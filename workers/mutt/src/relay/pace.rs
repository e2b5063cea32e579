//! How long to wait between two tries of a batch, and how often to say why.

use std::time::{Duration, Instant};

/// First wait.
const BASE: Duration = Duration::from_millis(100);
/// Longest own wait: after an outage of the ingestor lines flow again within this time.
const MAX: Duration = Duration::from_secs(5);
/// Wait where only people can help (key, URL); they should still see it work soon after.
const DENIED: Duration = Duration::from_secs(5);
/// The same trouble is logged this often.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// The tries of one batch.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    tries: u32,
    since: Option<Instant>,
    said: Option<Instant>,
}

impl Pace {
    /// The ingestor cannot now: the wait before the next try, `asked` being the least.
    pub(crate) fn later(&mut self, why: &str, asked: Option<Duration>) -> Duration {
        let wait = backoff(self.tries, asked);
        if self.failed() {
            tracing::warn!(why, "the ingestor does not take events; they wait in the spool");
        }
        wait
    }

    /// Settings are wrong.
    pub(crate) fn denied(&mut self, why: &str) -> Duration {
        if self.failed() {
            tracing::error!(
                why,
                "the ingestor refuses this relay: check the URL and INGEST_API_KEY; events wait in the spool"
            );
        }
        jitter(DENIED)
    }

    /// A try went through.
    pub(crate) fn recovered(&self) {
        if let Some(since) = self.since {
            tracing::info!(seconds = since.elapsed().as_secs(), tries = self.tries, "the ingestor takes events again");
        }
    }

    /// Counts a failure; whether it is time to say so.
    fn failed(&mut self) -> bool {
        self.tries = self.tries.saturating_add(1);
        let now = Instant::now();
        self.since.get_or_insert(now);
        let say = self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY);
        if say {
            self.said = Some(now);
        }
        say
    }
}

/// min(base·2ⁿ, max), half of it random, so that many relays do not come back together; never less than was asked for.
fn backoff(tries: u32, asked: Option<Duration>) -> Duration {
    let own = jitter(BASE.saturating_mul(1 << tries.min(10)).min(MAX));
    asked.map_or(own, |asked| asked.max(own) + jitter(asked / 10))
}

fn jitter(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_respect_what_was_asked() {
        for tries in 0..40 {
            let wait = backoff(tries, None);
            assert!(wait >= BASE / 2 && wait <= MAX, "{wait:?}");
            assert!(backoff(tries, Some(Duration::from_secs(7))) >= Duration::from_secs(7));
        }
        assert!(backoff(40, None) >= MAX / 2);
    }
}
