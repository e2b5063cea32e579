//! The PrometheusRule: recording rules and alerts of a pipeline. `rules.yaml` is the one source; standalone servers get it as
//! `manifests/prometheus/mutt.rules.yaml`.
//!
//! Its matcher `pipeline!=""` stands for "of every pipeline", which is how the standalone file keeps it; the operator puts one
//! pipeline in its place.

use super::{
    foreign::{PrometheusRule, PrometheusRuleConfig, Rule},
    labels::metadata,
    service_monitor::{SERIES_LABEL, with_labels},
};
use crate::pipeline::resolve::Resolved;

const SOURCE: &str = include_str!("rules.yaml");
const EVERY_PIPELINE: &str = r#"pipeline!="""#;
/// Stands in the source for the page with a section for each alert.
const RUNBOOKS: &str = "RUNBOOKS";
/// That page in MUTT's repository, of which nobody but the installation knows where it can be read.
const RUNBOOKS_FILE: &str = "manifests/prometheus/runbooks.md";
/// Label of an alert that is about a role which must have workers.
const ROLE: &str = "role";

pub(super) fn prometheus_rule(pipeline: &Resolved) -> Option<PrometheusRule> {
    let wanted = pipeline.prometheus_rule.as_ref()?;
    let mut config = config(pipeline)
        .inspect_err(|error| tracing::error!(%error, "the rules for Prometheus that are built in cannot be read"))
        .ok()?;
    for group in &mut config.groups {
        group.name = format!("{}.{}.{}", pipeline.namespace, pipeline.name, group.name);
        // A group that reads days of samples keeps its own.
        group.interval = group.interval.take().or_else(|| wanted.interval_seconds.map(|seconds| format!("{seconds}s")));
        group.rules.retain(|rule| concerns(pipeline, rule));
    }
    let mut rule = PrometheusRule::new(&pipeline.name, config);
    rule.metadata = metadata(pipeline, pipeline.name.clone(), None);
    with_labels(&mut rule.metadata.labels, &wanted.labels);
    Some(rule)
}

/// What picks out the series of one pipeline. Names of namespaces and pipelines need no escaping, neither in PromQL nor in YAML.
pub(super) fn selector(pipeline: &Resolved) -> String {
    format!(r#"namespace="{}",{SERIES_LABEL}="{}""#, pipeline.namespace, pipeline.name)
}

/// The rules about one pipeline.
fn config(pipeline: &Resolved) -> Result<PrometheusRuleConfig, serde_saphyr::Error> {
    let base = pipeline.runbook_base_url.as_ref();
    let runbooks = base.map_or_else(|| RUNBOOKS_FILE.to_owned(), |base| format!("{base}/{RUNBOOKS_FILE}"));
    serde_saphyr::from_str(&SOURCE.replace(EVERY_PIPELINE, &selector(pipeline)).replace(RUNBOOKS, &runbooks))
}

/// A role that a pipeline does not have, or that may be scaled to zero, is not missed.
fn concerns(pipeline: &Resolved, rule: &Rule) -> bool {
    let Some(missed) = rule.labels.get(ROLE) else { return true };
    pipeline.roles().any(|role| role.component.word() == missed && role.scale.least() > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// `make golden` writes it.
    #[test]
    fn golden_rules_for_standalone_servers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests/prometheus/mutt.rules.yaml");
        let rules = format!(
            "# Written by `make golden` out of operator/src/pipeline/build/prometheus/rules.yaml; do not edit.\n{}",
            SOURCE.replace(RUNBOOKS, RUNBOOKS_FILE)
        );
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &rules).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap_or_default() == rules, "{path} is outdated: run `make golden`");
    }

    #[test]
    fn every_selector_is_of_the_pipeline_and_every_alert_says_what_to_do() {
        let config: PrometheusRuleConfig = serde_saphyr::from_str(SOURCE).unwrap();
        for rule in config.groups.iter().flat_map(|group| &group.rules) {
            let what = rule.alert.as_ref().or(rule.record.as_ref()).unwrap();
            // A selector without the placeholder would see the other pipelines, too.
            let selectors = rule.expr.matches('{').count();
            assert_eq!(selectors, rule.expr.matches(&format!("{{{EVERY_PIPELINE}")).count(), "{what}: {}", rule.expr);
            let Some(alert) = &rule.alert else { continue };
            assert!(["critical", "warning"].contains(&rule.labels["severity"].as_str()), "{alert}");
            assert_eq!(rule.annotations["runbook_url"], format!("{RUNBOOKS}#{}", alert.to_lowercase()));
            assert!(rule.annotations["description"].contains("{{ $value | humanize"), "{alert}");
            for label in rule.labels.keys() {
                // Prometheus gives its templates the labels of the expression, not those that the rule adds.
                assert!(
                    !rule.annotations.values().any(|text| text.contains(&format!("$labels.{label}"))),
                    "{alert}: {label}"
                );
            }
            assert!(rule.annotations["summary"].contains("{{ $labels.namespace }}/{{ $labels.pipeline }}"), "{alert}");
        }
    }
}
