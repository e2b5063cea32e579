//! Alerters follow the ingest queue by way of the operator's external metrics.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mutt_e2e::eventually;
use mutt_servers::Fault;

use super::{
    flood::{Flood, Leases, prove},
    installation::{DumpOnFailure, installed},
    kubectl::{apply, kubectl, list, wait_condition},
    pipeline::Deployed,
    replicas::Replicas,
};

pub(crate) const ALERTER: &str = "core-alerter";
pub(crate) const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
/// Most alerters.
pub(crate) const MOST: i64 = 4;
/// Events for each alerter.
const TARGET: i64 = 2_000;
/// Far more than the most alerters are for, so that a sender that pauses for some seconds changes nothing.
pub(crate) const LEVEL: i64 = 8 * TARGET;
/// How long PostgreSQL lets each piece of data wait: an alerter with one lane then audits some hundred events a second.
pub(crate) const SLOW: Fault = Fault::Delay(Duration::from_millis(150));

/// The pipeline with one lane for each alerter, scaled within seconds.
pub(crate) fn scaled(pipeline: &Deployed, mode: &str, least: i64) -> String {
    let down = "{stabilizationWindowSeconds: 5, policies: [{type: Percent, value: 100, periodSeconds: 5}]}";
    let autoscaling = format!(
        "{{mode: {mode}, minReplicas: {least}, maxReplicas: {MOST}, targetQueueDepth: {TARGET}, behavior: {{scaleDown: {down}}}}}"
    );
    let manifest = pipeline.manifest(1, "");
    let replaced = manifest.replace(
        "  alerter: {replicas: 1,",
        &format!("  alerter: {{autoscaling: {autoscaling}, pod: {{env: [{{name: ALERTER_LANES, value: '1'}}]}},"),
    );
    assert_ne!(replaced, manifest);
    replaced
}

#[tokio::test]
async fn alerters_follow_a_flood_and_lose_nothing() {
    const NAMESPACE: &str = "flooded";
    let _operator = installed().await;
    let _dump = DumpOnFailure(NAMESPACE);
    let pipeline = Arc::new(Deployed::with(NAMESPACE, |pipeline| scaled(pipeline, "None", 1)).await);
    Flood::rules(&pipeline).await;
    let replicas = Replicas::watch(NAMESPACE, ALERTER).await;

    // With the mode None the number is somebody else's.
    kubectl(&["-n", NAMESPACE, "scale", "deployment", ALERTER, "--replicas=2"]).await;
    replicas.until("has the pods of kubectl scale", |wanted, ready| (wanted, ready) == (2, 2)).await;
    let two = Instant::now();

    pipeline.outside.postgres_faults.set(SLOW).await;
    let flood = Flood::start(&pipeline, LEVEL, 0).await;
    eventually("a flood", async || flood.count() > usize::try_from(LEVEL).unwrap()).await;
    let flooded = Instant::now();
    apply(&scaled(&pipeline, "External", 1)).await;
    replicas.until("is told to have all pods", |wanted, _| wanted == MOST).await;
    let told = flooded.elapsed();
    replicas.until("has all pods", |_, ready| ready == MOST).await;
    println!("External under load: {MOST} alerters wanted after {told:?}, ready after {:?}", flooded.elapsed());
    wait_condition(NAMESPACE, "muttpipeline", "core", "AutoscalingReady", |text| {
        text.starts_with("True") && text.contains("External")
    })
    .await;
    assert_eq!(replicas.least_since(two), 2, "a dip between None and External");

    redis_stops(&pipeline, &replicas).await;
    to_none_and_back(&pipeline, &replicas).await;

    let leases = Leases::watch(&pipeline).await;
    let accepted = flood.stop().await;
    let ebb = Instant::now();
    replicas.until("is down to one pod", |wanted, ready| (wanted, ready) == (1, 1)).await;
    println!("{} events, the last pods ended {:?} after the flood", accepted.len(), ebb.elapsed());
    eventually("only one pod is left", async || pods(NAMESPACE).await == 1).await;
    prove(&pipeline, &accepted).await;
    assert_eq!(leases.stop().into_iter().collect::<Vec<_>>(), Vec::<String>::new(), "pods that ended handed back");
    kubectl(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=3m"]).await;
}

/// What is known of the queue is used for a minute; then the HPA gets an error, and holds.
async fn redis_stops(pipeline: &Deployed, replicas: &Replicas) {
    let stopped = Instant::now();
    pipeline.outside.redis.stop().await.unwrap();
    hpa_condition(pipeline.namespace, "ScalingActive", |text| text.starts_with("False FailedGetExternalMetric")).await;
    println!("the HPA got an error {:?} after Redis had stopped", stopped.elapsed());
    wait_condition(pipeline.namespace, "muttpipeline", "core", "AutoscalingReady", |text| text.starts_with("False"))
        .await;
    pipeline.outside.redis.restart().await.unwrap();
    hpa_condition(pipeline.namespace, "ScalingActive", |text| text.starts_with("True")).await;
    wait_condition(pipeline.namespace, "muttpipeline", "core", "AutoscalingReady", |text| text.starts_with("True"))
        .await;
    replicas.until("has all pods again", |_, ready| ready == MOST).await;
    assert_eq!(replicas.least_since(stopped), MOST, "alerters were taken away while Redis was stopped");
}

async fn to_none_and_back(pipeline: &Deployed, replicas: &Replicas) {
    let start = Instant::now();
    apply(&scaled(pipeline, "None", 1)).await;
    eventually("no autoscaler is left", async || list(pipeline.namespace, "hpa").await.is_empty()).await;
    apply(&scaled(pipeline, "External", 1)).await;
    hpa_condition(pipeline.namespace, "ScalingActive", |text| text.starts_with("True")).await;
    assert_eq!(replicas.least_since(start), MOST, "a dip between External, None and External");
}

/// Waits for a condition of the alerter's HPA.
pub(crate) async fn hpa_condition(namespace: &str, kind: &str, wanted: impl Fn(&str) -> bool) {
    wait_condition(namespace, "hpa", ALERTER, kind, wanted).await;
}

/// Pods of the alerter, also those that are ending.
pub(crate) async fn pods(namespace: &str) -> usize {
    let names =
        kubectl(&["-n", namespace, "get", "pods", "-l", "app.kubernetes.io/component=alerter", "-o", "name"]).await;
    names.lines().count()
}
