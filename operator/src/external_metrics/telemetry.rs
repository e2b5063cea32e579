//! What Prometheus is told of questions and of what could be read. Labels are bounded: by pipelines and by HTTP codes.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};

use crate::{rules::PipelineKey, runtime::metrics::added};

/// How one reading of a pipeline's queues ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueRead {
    /// As they are now.
    Ok,
    /// They could not be read; what was read last was told.
    Stale,
    /// They could not be read for too long.
    Error,
}

impl QueueRead {
    const ALL: [Self; 3] = [Self::Ok, Self::Stale, Self::Error];

    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stale => "stale",
            Self::Error => "error",
        }
    }
}

/// The metrics.
pub struct QueueMetrics {
    reads: IntCounterVec,
    value_age: GaugeVec,
    requests: IntCounterVec,
}

impl QueueMetrics {
    /// All of them, without a series yet.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reads = Opts::new(
            "mutt_operator_external_metrics_reads_total",
            "Questions for a pipeline's queues: ok, stale (Redis is away, the last value was given), error",
        );
        let value_age = Opts::new(
            "mutt_operator_external_metrics_value_age_seconds",
            "How old the values were that were last given of a pipeline's queues",
        );
        let requests = Opts::new(
            "mutt_operator_external_metrics_requests_total",
            "Requests to external.metrics.k8s.io by HTTP status",
        );
        Ok(Self {
            reads: added(registry, IntCounterVec::new(reads, &["namespace", "pipeline", "outcome"])?)?,
            value_age: added(registry, GaugeVec::new(value_age, &["namespace", "pipeline"])?)?,
            requests: added(registry, IntCounterVec::new(requests, &["code"])?)?,
        })
    }

    /// Somebody asked for a pipeline's queues; `age` of what was told.
    pub(super) fn read(&self, pipeline: &PipelineKey, outcome: QueueRead, age: Option<Duration>) {
        let (namespace, name) = (pipeline.namespace.as_str(), pipeline.name.as_str());
        self.reads.with_label_values(&[namespace, name, outcome.label()]).inc();
        if let Some(age) = age {
            self.value_age.with_label_values(&[namespace, name]).set(age.as_secs_f64());
        }
    }

    /// The pipeline is gone, or watched no longer.
    pub(super) fn forget(&self, pipeline: &PipelineKey) {
        let (namespace, name) = (pipeline.namespace.as_str(), pipeline.name.as_str());
        // An error says that there was no such series, which is what is wanted.
        for outcome in QueueRead::ALL {
            let _ = self.reads.remove_label_values(&[namespace, name, outcome.label()]);
        }
        let _ = self.value_age.remove_label_values(&[namespace, name]);
    }

    /// Counts an answer of `external.metrics.k8s.io`.
    pub(super) fn answered(&self, code: u16) {
        self.requests.with_label_values(&[code.to_string().as_str()]).inc();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn the_series_of_a_deleted_pipeline_go() {
        let registry = Registry::new();
        let metrics = QueueMetrics::new(&registry).unwrap();
        let text = || TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let key = PipelineKey::new("a", "core");
        metrics.read(&key, QueueRead::Stale, Some(Duration::from_millis(2_500)));
        assert!(text().contains(r#"value_age_seconds{namespace="a",pipeline="core"} 2.5"#), "{}", text());
        assert!(text().contains(r#"reads_total{namespace="a",outcome="stale",pipeline="core"} 1"#), "{}", text());
        metrics.forget(&key);
        assert!(!text().contains("core"));
    }
}
