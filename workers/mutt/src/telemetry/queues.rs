//! Queues, dead letters and the balance as every worker sees them: the same names in each role, so that they are still
//! told when one role has no pods.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mutt_queue::Totals;
use prometheus::{GaugeVec, IntGaugeVec, Opts, Registry};

/// While Redis is away the last values stand for so long, then none: an old figure must not look like a new one.
const STANDS: Duration = Duration::from_secs(60);

/// `mutt_queue_depth`, `mutt_queue_oldest_age_seconds`, `mutt_dlq_depth`, `mutt_conservation_gap`; clones share them.
#[derive(Clone)]
pub(crate) struct QueueGauges {
    depth: IntGaugeVec,
    oldest_age: GaugeVec,
    dead_letters: IntGaugeVec,
    /// Without labels; a vector, because only that can have no value.
    gap: IntGaugeVec,
    read: std::sync::Arc<Mutex<Option<Instant>>>,
}

impl QueueGauges {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken in the registry.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = ["queue", "state"];
        let depth = Opts::new("mutt_queue_depth", "Elements of a queue, waiting or in processing");
        let oldest_age = Opts::new(
            "mutt_queue_oldest_age_seconds",
            "Seconds since the oldest element was accepted; in processing, of what was taken first",
        );
        let dead_letters = Opts::new("mutt_dlq_depth", "Dead letters: ingest, alerter, moog, dead");
        let gap = "Accepted less finished, queued, in flight and dead-lettered events, or the same of alerts, whichever \
                   is further from 0; not 0 for a minute = alarm";
        let gauges = Self {
            depth: IntGaugeVec::new(depth, &labels)?,
            oldest_age: GaugeVec::new(oldest_age, &labels)?,
            dead_letters: IntGaugeVec::new(dead_letters, &["queue"])?,
            gap: IntGaugeVec::new(Opts::new("mutt_conservation_gap", gap), &[])?,
            read: std::sync::Arc::default(),
        };
        registry.register(Box::new(gauges.depth.clone()))?;
        registry.register(Box::new(gauges.oldest_age.clone()))?;
        registry.register(Box::new(gauges.dead_letters.clone()))?;
        registry.register(Box::new(gauges.gap.clone()))?;
        Ok(gauges)
    }

    /// What Redis said.
    pub(crate) fn set(&self, totals: &Totals) {
        for queue in totals.queues() {
            let labels = [queue.queue, queue.state];
            self.depth.with_label_values(&labels).set(queue.depth);
            let age = queue.oldest_age.unwrap_or_default();
            self.oldest_age.with_label_values(&labels).set(age.as_secs_f64());
        }
        for (queue, depth) in totals.dead_letters() {
            self.dead_letters.with_label_values(&[queue]).set(depth);
        }
        self.gap.with_label_values(&[] as &[&str]).set(totals.gap());
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Redis did not answer. True once the last values have stood for long enough: whatever else it said is no longer
    /// to be told, either.
    pub(crate) fn unknown(&self) -> bool {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let outdated = read.is_some_and(|read| read.elapsed() >= STANDS);
        if outdated {
            *read = None;
            self.depth.reset();
            self.oldest_age.reset();
            self.dead_letters.reset();
            self.gap.reset();
        }
        outdated
    }
}
