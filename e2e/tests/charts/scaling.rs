//! `workers/SCALING.md`: what it says to set is taken by the API server.

use mutt_cluster::ControlPlane;
use mutt_e2e::repository;
use serde_json::{Value, json};

use crate::{admission::define, cases::documents, helm::text, kubectl::Kubectl};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_size() {
    let page = std::fs::read_to_string(repository().join("workers/SCALING.md")).unwrap();
    let blocks: Vec<_> = page.split("```yaml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    assert!(blocks.len() >= 3, "a block for each of the three sizes, not {}", blocks.len());
    let kubectl = Kubectl::new(ControlPlane::shared().await.unwrap().kubeconfig());
    define(&kubectl).await;
    crate::admission::namespace(&kubectl, "netops");
    let sample = repository().join("charts/mutt-pipeline/values.yaml");
    let values = documents(&std::fs::read_to_string(text(&sample)).unwrap()).remove(0);
    for block in blocks {
        let mut pipeline = json!({
            "apiVersion": "mutt.dev/v1alpha1", "kind": "MuttPipeline",
            "metadata": {"name": "core", "namespace": "netops"}, "spec": values["pipeline"]["spec"],
        });
        merge(&mut pipeline, &documents(block)[0]);
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "--filename", "-"];
        kubectl.run(&arguments, &pipeline.to_string());
    }
}

/// As `kubectl patch --type merge` does.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}
