//! Whatever is deleted by hand comes back, and what is no longer wanted goes.

use mutt_e2e::eventually;

use super::installation::{DumpOnFailure, installed};
use super::kubectl::{apply, get, kubectl, list};
use super::pipeline::Deployed;

const NAMESPACE: &str = "children";
/// All that the pipeline of this test has.
const EXTRA: &str = "  networkPolicy: {}
  ingress: {ingestHost: ingest.example.com, webUiHost: mutt.example.com}
";
const KINDS: [&str; 9] = [
    "serviceaccounts",
    "services",
    "deployments",
    "jobs",
    "cronjobs",
    "poddisruptionbudgets",
    "horizontalpodautoscalers",
    "networkpolicies",
    "ingresses",
];

#[tokio::test]
async fn every_kind_of_child_comes_back_and_orphans_go() {
    let _operator = installed().await;
    let _dump = DumpOnFailure(NAMESPACE);
    let pipeline = Deployed::new(NAMESPACE).await;
    let manifest = pipeline.manifest(2, EXTRA);
    let scaled = "forwarder: {autoscaling: {mode: Resource, minReplicas: 1, maxReplicas: 3}, resources: {requests: {cpu: 5m, memory: 32Mi}}}";
    let manifest = manifest
        .lines()
        .map(|line| if line.trim_start().starts_with("forwarder:") { format!("  {scaled}") } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n");
    apply(&manifest).await;
    eventually("a child of each kind", async || {
        for kind in KINDS {
            if ours(kind).await.is_empty() {
                return false;
            }
        }
        true
    })
    .await;
    pipeline.ready().await;

    for kind in KINDS {
        for (name, uid) in ours(kind).await {
            kubectl(&["-n", NAMESPACE, "delete", kind, &name, "--wait=true"]).await;
            eventually(&format!("{kind} {name} is back"), async || {
                get(NAMESPACE, kind, &name).await.is_some_and(|object| object["metadata"]["uid"] != uid.as_str())
            })
            .await;
        }
    }
    pipeline.ready().await;
    pipeline.apply_rule("after", "contains: AFTER-1").await;
    pipeline.rule_active("after").await;
    pipeline.send("core-1", "AFTER-1 all were deleted").await;
    pipeline.alerted("AFTER-1 all were deleted").await;

    // The Web UI is switched off: its objects go, the others stay.
    let without: String =
        manifest.lines().filter(|line| !line.trim_start().starts_with("webUi:")).collect::<Vec<_>>().join("\n");
    apply(&without.replace(", webUiHost: mutt.example.com", "")).await;
    eventually("nothing of the Web UI is left", async || {
        for kind in KINDS {
            if ours(kind).await.iter().any(|(name, _)| name.contains("webui")) {
                return false;
            }
        }
        true
    })
    .await;
    assert!(get(NAMESPACE, "deployment", "core-ingestor").await.is_some());
    kubectl(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=3m"]).await;
}

/// Name and UID of the pipeline's children of a kind.
async fn ours(kind: &str) -> Vec<(String, String)> {
    let owned = |object: &serde_json::Value| {
        let owners = object["metadata"]["ownerReferences"].as_array();
        owners.into_iter().flatten().any(|owner| owner["kind"] == "MuttPipeline")
    };
    let text = |object: &serde_json::Value, key: &str| object["metadata"][key].as_str().unwrap().to_owned();
    let objects = list(NAMESPACE, kind).await;
    objects.iter().filter(|object| owned(object)).map(|object| (text(object, "name"), text(object, "uid"))).collect()
}
