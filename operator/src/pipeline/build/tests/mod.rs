#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! YAML → resolve → build → files, or one field.

mod every_field;
mod fields;
mod golden;
mod worker_settings;

use std::collections::BTreeSet;

use mutt_crds::MuttPipeline;
use mutt_secrets::SecretName;
use serde_json::Value;

use super::{Children, Prepared, build, for_each_child_kind};
use crate::{
    external_metrics::Standing,
    pipeline::resolve::{Fetched, Resolved, resolve, secrets_of},
    runtime::discovery::Served,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// `tests/golden/<case>/pipeline.yaml` as JSON.
fn case(name: &str) -> Value {
    let path = format!("{FOLDER}/{name}/pipeline.yaml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pipeline resolved in a cluster that has what it asks for; `migrated` once its schema's Job has completed.
fn resolved(pipeline: &Value, migrated: bool) -> Resolved {
    let pipeline: MuttPipeline = serde_json::from_value(pipeline.clone()).expect("a MuttPipeline");
    let names = SecretName::ALL.iter().flat_map(|name| name.keys().iter().copied());
    let keys: BTreeSet<String> = names
        .filter(|key| *key != "DB_USER")
        .chain(["ca.crt", "root.pem", "tls.crt", "tls.key"])
        .map(str::to_owned)
        .collect();
    let mut fetched = Fetched {
        secrets: secrets_of(&pipeline.spec).into_iter().map(|name| (name, keys.clone())).collect(),
        served: Served { route: true, service_monitor: true, prometheus_rule: true, keda: true },
        external_metrics: Standing::Free,
        operator_url: Some("http://mutt-operator-metrics.mutt-system.svc:8080".to_owned()),
        scale_to_zero: Some(true),
        worker_image: "mutt-worker:3.0.0".to_owned(),
        ..Fetched::default()
    };
    let pending = resolve(&pipeline, &fetched).unwrap_or_else(|error| panic!("{error}"));
    if !migrated {
        return pending;
    }
    fetched.completed_jobs.extend(build(&pending).jobs.into_iter().filter_map(|job| job.metadata.name));
    resolve(&pipeline, &fetched).unwrap()
}

/// Every child as JSON, in the order in which they are applied.
fn objects(children: &Children<Prepared>) -> Vec<Value> {
    let mut objects = Vec::new();
    macro_rules! collect {
        ($($field:ident: $kind:ident, $served:expr;)*) => {
            let Children { $($field,)* held_back: _, left: _, state: _ } = children;
            $(objects.extend($field.iter().map(|child| serde_json::to_value(child).expect("JSON")));)*
        };
    }
    for_each_child_kind!(collect);
    objects
}

/// The one object of this kind and name.
fn object(pipeline: &Value, kind: &str, name: &str) -> Value {
    let objects = objects(&build(&resolved(pipeline, true)));
    let names: Vec<String> =
        objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect();
    let mut found = objects.into_iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.next().unwrap_or_else(|| panic!("no {kind} {name} among {names:?}"))
}

/// The container of a role of the pipeline.
fn container(pipeline: &Value, role: &str) -> Value {
    let name = format!("{}-{role}", pipeline["metadata"]["name"].as_str().unwrap());
    object(pipeline, "Deployment", &name)["spec"]["template"]["spec"]["containers"][0].take()
}
