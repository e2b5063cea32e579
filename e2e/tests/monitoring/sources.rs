//! The three forms in which rules reach a Prometheus.

use std::{collections::BTreeSet, fs};

use mutt_e2e::repository;
use serde_json::{Value, json};

/// Rules as a file of Prometheus: for standalone servers.
pub(crate) fn standalone() -> String {
    fs::read_to_string(repository().join("manifests/prometheus/mutt.rules.yaml")).unwrap()
}

/// What the operator makes of them for the pipeline netops/core.
pub(crate) fn of_a_pipeline() -> String {
    prometheus_rule("operator/tests/golden/openshift/children.yaml")
}

/// The operator's own alerts, of the release in the namespace mutt-system whose Service is mutt-metrics.
pub(crate) fn of_the_operator() -> String {
    prometheus_rule("e2e/tests/charts/golden/mutt-operator-all.yaml")
}

/// The groups of the PrometheusRule in a file of objects.
fn prometheus_rule(path: &str) -> String {
    let text = fs::read_to_string(repository().join(path)).unwrap();
    let objects = text.split("\n---\n").map(|object| serde_saphyr::from_str::<Value>(object).unwrap_or_default());
    let rule = objects.into_iter().find(|object| object["kind"] == "PrometheusRule").expect(path);
    // JSON is YAML.
    json!({"groups": rule["spec"]["groups"]}).to_string()
}

/// Every rule of a file.
pub(crate) fn rules(file: &str) -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(file).unwrap();
    let groups = file["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// Names of all alerts.
pub(crate) fn alerts() -> BTreeSet<String> {
    let all = [rules(&standalone()), rules(&of_the_operator())].concat();
    all.iter().filter_map(|rule| rule["alert"].as_str()).map(str::to_owned).collect()
}
