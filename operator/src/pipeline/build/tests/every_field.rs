//! No field without effect: whatever is changed in a pipeline that sets every field, something else is built.

use std::collections::BTreeSet;

use mutt_crds::definition::{is_kubernetes_type, mutt_pipeline};
use serde_json::Value;

use super::{build, case, resolved};

/// Together they set every field.
const CASES: [&str; 3] = ["full", "autoscaled", "openshift"];

/// Fields that are the rules half's: they make the rule set. And the one that the reconcile itself obeys.
const ELSEWHERE: [&str; 6] =
    ["ruleSelector", "ruleNamespaceSelector", "developmentHosts", "teams[].team", "teams[].hosts", "paused"];

/// Fields that the definition has for every role and a rule of it takes from some.
const REFUSED: [&str; 4] = [
    "ingestor.autoscaling.targetQueueDepth",
    "ingestor.autoscaling.targetQueueAgeSeconds",
    "webUi.autoscaling.targetQueueDepth",
    "webUi.autoscaling.targetQueueAgeSeconds",
];

/// Paths of all fields that have a value of their own, by the definition; a Kubernetes type is one value.
fn fields(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    let Some(properties) = schema["properties"].as_object() else {
        if schema["items"]["properties"].is_object() && !is_kubernetes(path) {
            return fields(&schema["items"], &format!("{path}[]"), found);
        }
        found.push((path.to_owned(), schema.clone()));
        return;
    };
    if is_kubernetes(path) {
        found.push((path.to_owned(), schema.clone()));
        return;
    }
    for (name, property) in properties {
        let separator = if path.is_empty() { "" } else { "." };
        fields(property, &format!("{path}{separator}{name}"), found);
    }
}

fn is_kubernetes(path: &str) -> bool {
    path.rsplit('.').next().is_some_and(is_kubernetes_type)
}

fn pointer(path: &str) -> String {
    format!("/spec/{}", path.replace("[]", ".0").replace('.', "/"))
}

/// Another value that the schema allows.
fn other(value: &Value, schema: &Value) -> Option<Value> {
    if let Some(choices) = schema["enum"].as_array() {
        return choices.iter().rev().find(|choice| *choice != value && !choice.is_null()).cloned();
    }
    match value {
        Value::Bool(value) => Some((!value).into()),
        Value::Number(number) => Some((number.as_i64()? + 1).into()),
        // A key that the Secrets of these tests have.
        Value::String(text) if text == "root.pem" => Some("ca.crt".into()),
        Value::String(text) => Some(format!("{text}2").into()),
        Value::Array(items) => Some(items[..items.len() - 1].to_vec().into()),
        // Maps and Kubernetes types: without them.
        _ => None,
    }
}

#[test]
fn every_field_has_an_effect() {
    let definition = mutt_pipeline();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut all = Vec::new();
    fields(schema, "", &mut all);
    assert!(all.len() > 100, "the definition has {} fields", all.len());
    let pipelines = CASES.map(case);
    let mut unset = BTreeSet::new();
    let mut idle = BTreeSet::new();
    let without_effect = [&ELSEWHERE[..], &REFUSED].concat();
    for (path, schema) in all.iter().filter(|(path, _)| !without_effect.contains(&path.as_str())) {
        let pointer = pointer(path);
        let Some(whole) = pipelines.iter().find(|pipeline| pipeline.pointer(&pointer).is_some()) else {
            unset.insert(path);
            continue;
        };
        let mut changed = whole.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = changed.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
        match other(&parent[name], schema) {
            Some(value) => parent.insert(name.to_owned(), value),
            None => parent.remove(name),
        };
        if build(&resolved(&changed, true)) == build(&resolved(whole, true)) {
            idle.insert(path);
        }
    }
    assert!(unset.is_empty(), "set these in one of {CASES:?}: {unset:?}");
    assert!(idle.is_empty(), "these change nothing that is built: {idle:?}");
}

#[test]
fn paused_is_handed_on() {
    let mut full = case("full");
    assert!(resolved(&full, true).paused);
    full["spec"]["paused"] = false.into();
    assert!(!resolved(&full, true).paused);
}
