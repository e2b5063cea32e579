//! The PrometheusRule: alerts about what needs a person, on the metrics of CONTRACT section 7.

use std::collections::BTreeMap;

use super::{
    foreign::{AlertingRule, PrometheusRule, PrometheusRuleConfig, RuleGroup},
    labels::metadata,
    service_monitor::{SERIES_LABEL, with_labels},
};
use crate::pipeline::resolve::Resolved;

pub(super) fn prometheus_rule(pipeline: &Resolved) -> Option<PrometheusRule> {
    let wanted = pipeline.prometheus_rule.as_ref()?;
    let group = RuleGroup {
        name: format!("{}.{}.mutt", pipeline.namespace, pipeline.name),
        interval: wanted.interval_seconds.map(|seconds| format!("{seconds}s")),
        rules: alerts(pipeline),
    };
    let mut rule = PrometheusRule::new(&pipeline.name, PrometheusRuleConfig { groups: vec![group] });
    rule.metadata = metadata(pipeline, pipeline.name.clone(), None);
    with_labels(&mut rule.metadata.labels, &wanted.labels);
    Some(rule)
}

/// Severity, how long it must last.
const CRITICAL_SOON: (&str, &str) = ("critical", "5m");
const CRITICAL: (&str, &str) = ("critical", "10m");
const WARNING: (&str, &str) = ("warning", "10m");
const WARNING_LATER: (&str, &str) = ("warning", "1h");

fn alerts(pipeline: &Resolved) -> Vec<AlertingRule> {
    let (namespace, name) = (&pipeline.namespace, &pipeline.name);
    let series = |metric: &str| format!("{metric}{{namespace=\"{namespace}\",{SERIES_LABEL}=\"{name}\"}}");
    let most = |metric: &str| format!("max by (namespace, {SERIES_LABEL}) ({})", series(metric));
    let depth = most("mutt_ingest_queue_depth");
    let slope = format!("deriv({}[15m])", series("mutt_ingest_queue_depth"));
    let alert = |alert: &str, expr: String, (severity, lasts): (&str, &str), summary: &str, description: &str| {
        let text = |key: &str, text: &str| (key.to_owned(), text.replace("PIPELINE", &format!("{namespace}/{name}")));
        AlertingRule {
            alert: alert.to_owned(),
            expr,
            for_: Some(lasts.to_owned()),
            labels: BTreeMap::from([("severity".to_owned(), severity.to_owned())]),
            annotations: BTreeMap::from([text("summary", summary), text("description", description)]),
        }
    };
    vec![
        alert(
            "MuttRoleDown",
            format!("sum by (namespace, {SERIES_LABEL}, job) ({}) == 0", series("up")),
            CRITICAL_SOON,
            "No {{ $labels.job }} of PIPELINE answers",
            "Prometheus reaches no pod of this role. Look at the conditions of the MuttPipeline and at the pods.",
        ),
        alert(
            "MuttConservationGap",
            format!("{} != 0", most("mutt_conservation_gap")),
            CRITICAL,
            "Events of PIPELINE were lost or invented",
            "Accepted events and those accounted for differ by {{ $value }}. Did Redis lose data (failover, flush, no append-only file)?",
        ),
        alert(
            "MuttDeadLettersOfAlerter",
            format!("{} > 0", most("mutt_alerter_dlq_depth")),
            WARNING,
            "Alerters of PIPELINE gave up on {{ $value }} events",
            "See why with `mutt dlq`, then put them back.",
        ),
        alert(
            "MuttDeadLettersOfForwarder",
            format!("{} > 0", most("mutt_moog_dlq_depth")),
            WARNING,
            "{{ $value }} alerts of PIPELINE were not delivered",
            "The webhook refused them or retries ran out. See why with `mutt dlq`, then put them back.",
        ),
        alert(
            "MuttQueueGrowing",
            format!("{depth} > 10000 and max by (namespace, {SERIES_LABEL}) ({slope}) > 0"),
            WARNING,
            "Alerters of PIPELINE fall behind",
            "{{ $value }} events wait and the queue grows. More alerters, or a faster PostgreSQL.",
        ),
        alert(
            "MuttQueueNearlyFull",
            format!("{depth} > 0.8 * {}", pipeline.ingestor.max_queue_size),
            CRITICAL_SOON,
            "The queue of PIPELINE is nearly full",
            "{{ $value }} events wait; at spec.ingestor.maxQueueSize senders are refused with 503.",
        ),
        alert(
            "MuttCircuitOpen",
            format!("{} == 2", most("mutt_circuit_breaker_state")),
            CRITICAL_SOON,
            "PIPELINE does not post to the webhook",
            "The circuit breaker is open: the webhook failed many times in a row. Alerts wait and are not lost.",
        ),
        alert(
            "MuttForwarderPaused",
            format!("{} > 0", most("mutt_moog_paused")),
            CRITICAL_SOON,
            "The webhook refuses the key or the address of PIPELINE",
            "It answers 401, 403 or 404. Check spec.moogsoft.url and MOOG_API_KEY. Alerts wait and are not lost.",
        ),
        alert(
            "MuttAuditPartitionsMissing",
            format!("{} > 0", most("mutt_alerter_audit_partitions_missing")),
            WARNING_LATER,
            "PIPELINE lacks partitions of the audit trail",
            "The CronJob that makes them ahead does not succeed. Look at its last Job.",
        ),
    ]
}
