//! The real KEDA scales the alerters, from none at all. Run by `make keda`, which starts a node with KEDA.

use std::{sync::Arc, time::Instant};

use mutt_e2e::eventually;
use serde_json::Value;

use super::{
    autoscaling::{ALERTER, API_SERVICE, LEVEL, MOST, SLOW, hpa_condition, pods, scaled},
    flood::{Flood, Leases, prove},
    installation::{DumpOnFailure, installed},
    kubectl::{apply, condition, get, kubectl, list, wait_condition},
    pipeline::Deployed,
    replicas::Replicas,
};

const NAMESPACE: &str = "keda-scaled";
/// What KEDA calls the HPA of a ScaledObject.
const THEIR_HPA: &str = "keda-hpa-core-alerter";

#[tokio::test]
async fn keda_scales_alerters_from_zero_and_hands_them_over() {
    let _operator = installed().await;
    let _dump = DumpOnFailure(NAMESPACE);
    let pipeline = Arc::new(Deployed::with(NAMESPACE, |pipeline| scaled(pipeline, "Auto", 0)).await);
    let replicas = Replicas::watch(NAMESPACE, ALERTER).await;
    ready("Keda").await;
    let scaled_object = get(NAMESPACE, "scaledobject", ALERTER).await.expect("a ScaledObject");
    assert!(condition(&scaled_object, "Ready").starts_with("True"), "{scaled_object:#}");

    replicas.until("is told to have no pod", |wanted, _| wanted == 0).await;
    // One that is still ending might take the event.
    eventually("no alerter is left", async || pods(NAMESPACE).await == 0).await;
    ready("Keda").await;
    Flood::apply_rules(&pipeline).await;
    eventually("the operator has both rules", async || {
        get(NAMESPACE, "muttpipeline", "core").await.unwrap()["status"]["rules"]["accepted"] == 2
    })
    .await;
    let start = Instant::now();
    pipeline.send("core-1", "FLOOD-QUIET one event for nobody").await;
    replicas.until("is up from zero", |wanted, _| wanted == 1).await;
    println!("from zero to one alerter in {:?}", start.elapsed());
    eventually("the one event is audited", async || !pipeline.audited("one event for nobody").await.is_empty()).await;
    assert_eq!(pipeline.audited("one event for nobody").await, format!("Ignore|{NAMESPACE}/flood-quiet"));

    pipeline.outside.postgres_faults.set(SLOW).await;
    let flooded = Instant::now();
    let flood = Flood::start(&pipeline, LEVEL, 0).await;
    replicas.until("is told to have all pods", |wanted, _| wanted == MOST).await;
    println!("KEDA: {MOST} alerters {:?} after the flood began", flooded.elapsed());
    replicas.until("has all pods", |_, ready| ready == MOST).await;

    let stopped = Instant::now();
    pipeline.outside.redis.stop().await.unwrap();
    wait_condition(NAMESPACE, "hpa", THEIR_HPA, "ScalingActive", |text| text.starts_with("False")).await;
    wait_condition(NAMESPACE, "muttpipeline", "core", "AutoscalingReady", |text| text.starts_with("False")).await;
    pipeline.outside.redis.restart().await.unwrap();
    wait_condition(NAMESPACE, "hpa", THEIR_HPA, "ScalingActive", |text| text.starts_with("True")).await;
    ready("Keda").await;
    assert_eq!(replicas.least_since(stopped), MOST, "alerters were taken away while Redis was stopped");

    let start = Instant::now();
    kubectl(&["delete", "apiservice", API_SERVICE]).await;
    apply(&scaled(&pipeline, "External", 1)).await;
    hpa_condition(NAMESPACE, "ScalingActive", |text| text.starts_with("True")).await;
    ready("External").await;
    assert_eq!(autoscalers().await, [ALERTER], "one autoscaler, ours");
    assert!(list(NAMESPACE, "scaledobjects").await.is_empty());
    assert_eq!(replicas.least_since(start), MOST, "a dip between Keda and External");

    let leases = Leases::watch(&pipeline).await;
    let accepted = flood.stop().await;
    replicas.until("is down to one pod", |wanted, ready| (wanted, ready) == (1, 1)).await;
    prove(&pipeline, &accepted).await;
    assert_eq!(leases.stop().into_iter().collect::<Vec<_>>(), Vec::<String>::new(), "pods that ended handed back");
    kubectl(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=3m"]).await;
}

async fn ready(mode: &str) {
    wait_condition(NAMESPACE, "muttpipeline", "core", "AutoscalingReady", |text| {
        text.starts_with("True") && text.contains(mode)
    })
    .await;
}

/// The HPAs of the alerters' Deployment.
async fn autoscalers() -> Vec<String> {
    let hpas = list(NAMESPACE, "hpa").await;
    let ours = hpas.iter().filter(|hpa| hpa["spec"]["scaleTargetRef"]["name"] == ALERTER);
    ours.map(|hpa: &Value| hpa["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}
