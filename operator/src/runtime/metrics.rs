//! What Prometheus is told. Labels are bounded: by controllers, kinds that the operator writes, and pipelines.

use std::time::Duration;

use kube::client::Body;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use super::telemetry::VERSION;
use crate::external_metrics::telemetry::QueueMetrics;

/// How one reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was written.
    Changed,
    /// All was as it should be.
    Unchanged,
    /// It failed and is tried again.
    Error,
}

impl Outcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Error => "error",
        }
    }
}

/// All metrics of the operator.
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    durations: HistogramVec,
    queue: IntGaugeVec,
    rules: IntGaugeVec,
    writes: IntCounterVec,
    seconds_since_progress: IntGaugeVec,
    /// What is asked of `external.metrics.k8s.io`, and of the queues by KEDA.
    pub queues: QueueMetrics,
    certificate_expiry: IntGaugeVec,
    /// 1 while `external.metrics.k8s.io` is ours and the API server reaches it; the leader says so.
    pub external_metrics_serving: IntGauge,
    /// 1 while this process may write.
    pub leader: IntGauge,
    /// Successful renewals of the Lease.
    pub lease_renewals: prometheus::IntCounter,
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let buckets = vec![0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let metrics = Self {
            reconciles: added(
                &registry,
                IntCounterVec::new(
                    Opts::new("mutt_operator_reconciles_total", "Reconciles by controller and by how they ended"),
                    &["controller", "outcome"],
                )?,
            )?,
            durations: added(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new("mutt_operator_reconcile_duration_seconds", "How long reconciles took")
                        .buckets(buckets),
                    &["controller"],
                )?,
            )?,
            queue: added(
                &registry,
                IntGaugeVec::new(Opts::new("mutt_operator_queue_depth", "Reconciles under way"), &["controller"])?,
            )?,
            rules: added(
                &registry,
                IntGaugeVec::new(
                    Opts::new("mutt_operator_rules", "AlertRules that a pipeline selects, by state"),
                    &["namespace", "pipeline", "state"],
                )?,
            )?,
            writes: added(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "mutt_operator_writes_total",
                        "Requests to the API server that write, by resource and verb",
                    ),
                    &["resource", "verb"],
                )?,
            )?,
            queues: QueueMetrics::new(&registry)?,
            seconds_since_progress: added(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "mutt_operator_seconds_since_progress",
                        "How long a task has worked without getting on; 0 while idle",
                    ),
                    &["task"],
                )?,
            )?,
            certificate_expiry: added(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "mutt_operator_external_metrics_certificate_expiry_timestamp_seconds",
                        "When the certificate that this replica shows for external.metrics.k8s.io expires, Unix time; 0 = it has none",
                    ),
                    &[],
                )?,
            )?,
            external_metrics_serving: added(
                &registry,
                IntGauge::new(
                    "mutt_operator_external_metrics_serving",
                    "1 on the leader while external.metrics.k8s.io is this operator's and the API server reaches it",
                )?,
            )?,
            leader: added(&registry, IntGauge::new("mutt_operator_leader", "1 while this replica leads")?)?,
            lease_renewals: added(
                &registry,
                prometheus::IntCounter::new(
                    "mutt_operator_lease_renewals_total",
                    "Renewals of the Lease that succeeded",
                )?,
            )?,
            registry,
        };
        let build = added(
            &metrics.registry,
            IntGaugeVec::new(Opts::new("mutt_operator_build_info", "1, with the version of this build"), &["version"])?,
        )?;
        build.with_label_values(&[VERSION]).set(1);
        Ok(metrics)
    }

    /// Counts one reconcile of `controller`.
    pub fn reconciled(&self, controller: &str, outcome: Outcome, took: Duration) {
        self.reconciles.with_label_values(&[controller, outcome.label()]).inc();
        self.durations.with_label_values(&[controller]).observe(took.as_secs_f64());
    }

    /// Reconciles of `controller` under way.
    pub fn queue_depth(&self, controller: &str) -> IntGauge {
        self.queue.with_label_values(&[controller])
    }

    /// AlertRules of one pipeline.
    pub fn set_rules(&self, namespace: &str, pipeline: &str, accepted: usize, rejected: usize, active: usize) {
        for (state, count) in [("accepted", accepted), ("rejected", rejected), ("active", active)] {
            self.rules.with_label_values(&[namespace, pipeline, state]).set(count as i64);
        }
    }

    /// The pipeline is gone: its series go too.
    pub fn forget_pipeline(&self, namespace: &str, pipeline: &str) {
        for state in ["accepted", "rejected", "active"] {
            // An error says that there was no such series, which is what is wanted.
            let _ = self.rules.remove_label_values(&[namespace, pipeline, state]);
        }
    }

    /// All pipelines are another replica's from now on.
    pub fn forget_rules(&self) {
        self.rules.reset();
    }

    /// When the certificate of `external.metrics.k8s.io` expires, in seconds since 1970; 0 = there is none. An operator that
    /// serves no such API has no such series.
    pub fn set_certificate_expiry(&self, at: i64) {
        self.certificate_expiry.with_label_values(&[] as &[&str]).set(at);
    }

    /// Counts a request that writes; called for every request that leaves the client.
    pub fn sent(&self, request: &axum::http::Request<Body>) {
        if request.method().is_safe() {
            return;
        }
        // Reviews are questions that are asked by POST.
        if let Some(resource) = resource_of(request.uri().path()).filter(|resource| !resource.ends_with("reviews")) {
            self.writes.with_label_values(&[resource.as_str(), request.method().as_str()]).inc();
        }
    }

    /// Everything in Prometheus' text format. `progress` = seconds without progress by task.
    pub fn exposition(&self, progress: impl Iterator<Item = (&'static str, Duration)>) -> String {
        for (task, since) in progress {
            self.seconds_since_progress.with_label_values(&[task]).set(since.as_secs() as i64);
        }
        let mut text = String::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

/// A collector that is registered.
pub(crate) fn added<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// The resource (and subresource) of a path of the API server: `deployments`, `alertrules/status`.
fn resource_of(path: &str) -> Option<String> {
    let mut parts = path.trim_matches('/').split('/');
    // /api/v1/… or /apis/<group>/<version>/…
    let skipped = match parts.next()? {
        "api" => 1,
        "apis" => 2,
        _ => return None,
    };
    let mut parts = parts.skip(skipped).peekable();
    let first = parts.next()?;
    // /namespaces/<namespace>/<resource>…, but /namespaces/<name> is the namespace itself.
    let resource = if first == "namespaces" && parts.next().is_some() { parts.next().unwrap_or(first) } else { first };
    let subresource = parts.nth(1);
    Some(subresource.map_or_else(|| resource.to_owned(), |sub| format!("{resource}/{sub}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_resource() {
        for (path, resource) in [
            ("/api/v1/namespaces/a/services/core-ingestor", Some("services")),
            ("/apis/apps/v1/namespaces/a/deployments", Some("deployments")),
            ("/apis/mutt.dev/v1alpha1/namespaces/a/alertrules/x/status", Some("alertrules/status")),
            ("/api/v1/namespaces/a", Some("namespaces")),
            ("/apis/apiregistration.k8s.io/v1/apiservices/x", Some("apiservices")),
            ("/apis/authorization.k8s.io/v1/subjectaccessreviews", Some("subjectaccessreviews")),
            ("/version", None),
        ] {
            assert_eq!(resource_of(path).as_deref(), resource, "{path}");
        }
    }

    #[test]
    fn only_writes_are_counted() {
        let metrics = Metrics::new().unwrap();
        for method in ["GET", "PATCH", "POST"] {
            let request =
                axum::http::Request::builder().method(method).uri("https://x/apis/apps/v1/namespaces/a/deployments/d");
            metrics.sent(&request.body(Body::empty()).unwrap());
        }
        let review = axum::http::Request::post("https://x/apis/authorization.k8s.io/v1/subjectaccessreviews");
        metrics.sent(&review.body(Body::empty()).unwrap());
        let text = metrics.exposition(std::iter::once(("runtime", Duration::from_secs(3))));
        assert!(!text.contains("reviews"), "{text}");
        assert!(text.contains(r#"mutt_operator_writes_total{resource="deployments",verb="PATCH"} 1"#), "{text}");
        assert!(!text.contains("GET"), "{text}");
        assert!(text.contains(r#"mutt_operator_seconds_since_progress{task="runtime"} 3"#), "{text}");
    }

    #[test]
    fn the_series_of_a_deleted_pipeline_go_and_all_with_the_term() {
        let metrics = Metrics::new().unwrap();
        metrics.set_rules("a", "core", 3, 1, 2);
        assert!(
            metrics.exposition(std::iter::empty()).contains(r#"namespace="a",pipeline="core",state="rejected"} 1"#)
        );
        metrics.forget_pipeline("a", "core");
        assert!(!metrics.exposition(std::iter::empty()).contains("core"));
        metrics.set_rules("a", "core", 3, 1, 2);
        metrics.set_rules("a", "edge", 3, 1, 2);
        metrics.forget_rules();
        assert!(!metrics.exposition(std::iter::empty()).contains("mutt_operator_rules{"));
    }

    #[test]
    fn the_charts_dashboard_and_alerts_ask_for_what_there_is() {
        let metrics = Metrics::new().unwrap();
        for file in ["files/dashboards/operator.json", "templates/prometheusrule.yaml"] {
            let path = format!("{}/../charts/mutt-operator/{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).unwrap();
            let begin_names = text.match_indices("mutt_operator_").map(|(at, _)| &text[at..]);
            let names: std::collections::BTreeSet<_> = begin_names
                .map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap())
                .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
                .collect();
            assert!(names.len() > 5, "{path}: {names:?}");
            for name in names {
                // A name that is taken cannot be registered again, whether it has a series yet or not.
                let again = metrics.registry.register(Box::new(IntGauge::new(name, "again").unwrap()));
                assert!(again.is_err(), "{path}: the operator exports no {name}");
            }
        }
    }
}
