//! The forwarder's metrics (CONTRACT section 7).

use mutt_queue::moog::Breaker;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::verdict::Reason;
use crate::telemetry::{ACCEPTED_TO_BUCKETS_S, QueueGauges};

/// Registered once per process.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    /// From the POST's start to its answer.
    pub(crate) latency: Histogram,
    /// Length of `dlq:moog`.
    pub(crate) dlq_depth: IntGauge,
    /// Alerts in flight over all forwarders.
    pub(crate) processing_depth: IntGauge,
    /// Takes that the shared rate put off.
    pub(crate) rate_limit_hits: IntCounter,
    alerts: IntCounterVec,
    breaker_state: IntGauge,
    breaker_failures: IntGauge,
    breaker_changes: IntCounter,
    /// 1 while key or URL are refused.
    pub(crate) paused: IntGauge,
    /// Length of the alert queue.
    pub(crate) queue_depth: IntGauge,
    /// Both queues, dead letters, the balance.
    pub(crate) queues: QueueGauges,
    accepted_to_delivered: Histogram,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name, help| keep(registry, IntCounter::new(name, help)?);
        let gauge = |name, help| keep(registry, IntGauge::new(name, help)?);
        let state = keep(
            registry,
            IntGaugeVec::new(Opts::new("mutt_circuit_breaker_state", "0 closed, 1 half-open, 2 open."), &["name"])?,
        )?;
        let latency = HistogramOpts::new("mutt_moog_request_latency_seconds", "Time of one POST to the webhook.");
        let to_delivered = HistogramOpts::new(
            "mutt_accepted_to_delivered_seconds",
            "From an event's acceptance to the webhook's 2xx; replays are not counted.",
        )
        .buckets(ACCEPTED_TO_BUCKETS_S.to_vec());
        let metrics = Self {
            requests: keep(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "mutt_moog_requests_total",
                        "POSTs to the webhook, and those that an open breaker kept back.",
                    ),
                    &["status", "reason"],
                )?,
            )?,
            latency: keep(registry, Histogram::with_opts(latency)?)?,
            dlq_depth: gauge("mutt_moog_dlq_depth", "Alerts in dlq:moog.")?,
            processing_depth: gauge("mutt_moog_processing_list_depth", "Alerts in flight over all forwarders.")?,
            rate_limit_hits: counter("mutt_moog_rate_limit_hits_total", "Takes that the shared rate limit put off.")?,
            alerts: keep(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "mutt_moog_alerts_processed_total",
                        "Alerts by what became of them; error = will be tried again.",
                    ),
                    &["status"],
                )?,
            )?,
            breaker_state: state.with_label_values(&["moogsoft"]),
            breaker_failures: gauge("mutt_circuit_breaker_failures", "Failures in a row over all forwarders.")?,
            breaker_changes: counter(
                "mutt_circuit_breaker_state_changes_total",
                "Changes of the breaker's state made by this forwarder's calls.",
            )?,
            paused: gauge("mutt_moog_paused", "1 while the webhook refuses the key or the URL.")?,
            queue_depth: gauge("mutt_moog_queue_depth", "Alerts in the alert queue.")?,
            queues: QueueGauges::register(registry)?,
            accepted_to_delivered: keep(registry, Histogram::with_opts(to_delivered)?)?,
        };
        for reason in [Reason::Http, Reason::RateLimit, Reason::RetryExhausted, Reason::CircuitOpen] {
            metrics.requests.with_label_values(&["fail", reason.label()]);
        }
        metrics.requests.with_label_values(&["success", ""]);
        for status in ["success", "dlq", "error"] {
            metrics.alerts.with_label_values(&[status]);
        }
        Ok(metrics)
    }

    /// One POST, or one kept back.
    pub(crate) fn request(&self, reason: Reason) {
        let status = if reason == Reason::None { "success" } else { "fail" };
        self.requests.with_label_values(&[status, reason.label()]).inc();
    }

    /// The webhook took an alert whose event was accepted then.
    pub(crate) fn delivered(&self, accepted: jiff::Timestamp) {
        let took = jiff::Timestamp::now().duration_since(accepted).as_secs_f64();
        // The ingestor's clock may be ahead.
        self.accepted_to_delivered.observe(took.max(0.0));
    }

    /// What became of an alert: success, dlq or error.
    pub(crate) fn alert(&self, status: &str) {
        self.alerts.with_label_values(&[status]).inc();
    }

    /// What Redis told of all forwarders is too old to be told: the others know better.
    pub(crate) fn forget_shared(&self) {
        for gauge in [
            &self.breaker_state,
            &self.breaker_failures,
            &self.paused,
            &self.queue_depth,
            &self.dlq_depth,
            &self.processing_depth,
        ] {
            gauge.set(0);
        }
    }

    /// The shared breaker as an answer showed it.
    pub(crate) fn breaker(&self, breaker: &Breaker) {
        self.breaker_state.set(breaker.state.number());
        self.breaker_failures.set(breaker.failures as i64);
        self.breaker_changes.inc_by(breaker.entered.len() as u64);
    }
}

fn keep<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
