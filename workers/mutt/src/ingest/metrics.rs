//! The ingestor's metrics (CONTRACT section 7), counted per event also when they came in a batch.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::reason::Reason;
use crate::telemetry::QueueGauges;

/// From 100 µs, an answer from a warm Redis, to 5 s, the push's time limit.
const LATENCY_BUCKETS_S: [f64; 14] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Handles resolved once: counting is one atomic addition.
pub(crate) struct Metrics {
    pub(crate) accepted: IntCounter,
    refused: [IntCounter; Reason::ALL.len()],
    pub(crate) queue_depth: IntGauge,
    /// Depth at which senders are refused.
    pub(crate) queue_limit: IntGauge,
    /// What Redis uses.
    pub(crate) redis_bytes: IntGauge,
    /// Use at which senders are refused; 0 = not known.
    pub(crate) redis_bytes_limit: IntGauge,
    pub(crate) latency: Histogram,
    pub(crate) rate_limit_hits: IntCounter,
    /// Both queues, dead letters, the balance.
    pub(crate) queues: QueueGauges,
}

impl Metrics {
    /// Registers all of them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("mutt_ingest_requests_total", "Events by status and reason of refusal"),
            &["status", "reason"],
        )?;
        let queue_depth = IntGauge::new("mutt_ingest_queue_depth", "Events in the ingest queue")?;
        let queue_limit =
            IntGauge::new("mutt_ingest_queue_limit", "Depth of the ingest queue at which senders are refused")?;
        let redis_bytes = IntGauge::new("mutt_redis_memory_used_bytes", "Memory that Redis uses")?;
        let redis_bytes_limit = IntGauge::new(
            "mutt_redis_memory_limit_bytes",
            "Memory of Redis at which senders are refused; 0 = not known",
        )?;
        let latency = HistogramOpts::new("mutt_ingest_latency_seconds", "Seconds from a request's head to its answer")
            .buckets(LATENCY_BUCKETS_S.to_vec());
        let latency = Histogram::with_opts(latency)?;
        let rate_limit_hits =
            IntCounter::new("mutt_ingest_rate_limit_hits_total", "Requests refused by the limit per source")?;
        registry.register(Box::new(requests.clone()))?;
        for gauge in [&queue_depth, &queue_limit, &redis_bytes, &redis_bytes_limit] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(latency.clone()))?;
        registry.register(Box::new(rate_limit_hits.clone()))?;
        Ok(Self {
            accepted: requests.get_metric_with_label_values(&["success", ""])?,
            refused: Reason::ALL.map(|reason| requests.with_label_values(&["fail", reason.word()])),
            queue_depth,
            queue_limit,
            redis_bytes,
            redis_bytes_limit,
            latency,
            rate_limit_hits,
            queues: QueueGauges::register(registry)?,
        })
    }

    /// Counts refused events.
    pub(crate) fn refuse(&self, reason: Reason, events: u64) {
        if let Some(counter) = self.refused.get(reason as usize) {
            counter.inc_by(events);
        }
    }
}
