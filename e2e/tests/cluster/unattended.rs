//! Without the operator the number of pods stays what it is; uninstalled while its metrics are in use, it leaves nothing that is out
//! of order.

use std::time::Instant;

use mutt_e2e::eventually;
use mutt_servers::Fault;
use serde_json::Value;

use super::{
    autoscaling::{ALERTER, API_SERVICE, LEVEL, MOST, hpa_condition, scaled},
    flood::{Accepted, Flood, prove},
    installation::{DumpOnFailure, alone, kill_operator},
    kubectl::{condition, get, kubectl, list, readme, run},
    pipeline::Deployed,
    replicas::Replicas,
};

#[tokio::test]
async fn replicas_hold_without_the_operator_and_nothing_is_left_of_it() {
    const NAMESPACE: &str = "deserted";
    let _cluster = alone().await;
    let _dump = DumpOnFailure(NAMESPACE);
    readme("install", &[("REGISTRY", super::REGISTRY.to_owned())]).await;
    let pipeline = Deployed::with(NAMESPACE, |pipeline| scaled(pipeline, "External", 1)).await;
    Flood::rules(&pipeline).await;
    let replicas = Replicas::watch(NAMESPACE, ALERTER).await;
    // Nothing can be audited, so the queue stays as long as it is.
    pipeline.outside.postgres_faults.set(Fault::HalfOpen).await;
    let flood = Flood::start(&pipeline, LEVEL, 0).await;
    replicas.until("is told to have all pods", |wanted, _| wanted == MOST).await;
    let accepted = flood.stop().await;
    let start = Instant::now();

    away_and_back(NAMESPACE).await;
    killed(NAMESPACE).await;
    uninstalled(&pipeline, accepted).await;
    assert_eq!(replicas.least_since(start), MOST, "alerters were taken away while the operator was");
    drop(replicas);
    kubectl(&["delete", "namespace", "mutt-system", NAMESPACE, "--wait=true", "--timeout=3m"]).await;
    run("helm", &["uninstall", "mutt-crds"]).await.unwrap();
    kubectl(&["delete", "crd", "muttpipelines.mutt.dev", "alertrules.mutt.dev", "--wait=true"]).await;
}

/// The operator is scaled to nothing.
async fn away_and_back(namespace: &str) {
    let scale = async |replicas: &str| {
        kubectl(&["-n", "mutt-system", "scale", "deployment", "mutt-operator", replicas]).await;
    };
    scale("--replicas=0").await;
    api_service(|text| text.starts_with("False")).await;
    hpa_condition(namespace, "ScalingActive", |text| text.starts_with("False FailedGetExternalMetric")).await;
    let back = Instant::now();
    scale("--replicas=2").await;
    api_service(|text| text.starts_with("True")).await;
    hpa_condition(namespace, "ScalingActive", |text| text.starts_with("True")).await;
    println!("the HPA had its metric again {:?} after the operator was back", back.elapsed());
}

/// All its processes are killed at once.
async fn killed(namespace: &str) {
    let restarts = async || -> Vec<(String, i64)> {
        let pods = list("mutt-system", "pods").await;
        let of = |pod: &Value| {
            let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
            (uid, pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0))
        };
        pods.iter().map(of).collect()
    };
    eventually("two operators", async || restarts().await.len() == 2).await;
    let before = restarts().await;
    for (uid, _) in &before {
        kill_operator(uid);
    }
    eventually("the operators are started again", async || {
        let now = restarts().await;
        before.iter().all(|(uid, count)| now.iter().any(|(other, more)| other == uid && more > count))
    })
    .await;
    api_service(|text| text.starts_with("True")).await;
    eventually("the metric", async || metric(namespace).await.is_ok_and(|value| value > 0)).await;
    hpa_condition(namespace, "ScalingActive", |text| text.starts_with("True")).await;
}

/// While its metrics are in use.
async fn uninstalled(pipeline: &Deployed, accepted: Accepted) {
    run("helm", &["uninstall", "mutt-operator", "--namespace", "mutt-system", "--wait"]).await.unwrap();
    eventually("the APIService is gone", async || get("default", "apiservice", API_SERVICE).await.is_none()).await;
    // It fails when any group cannot be discovered.
    let resources = kubectl(&["api-resources"]).await;
    assert!(!resources.contains("external.metrics.k8s.io"), "{resources}");
    hpa_condition(pipeline.namespace, "ScalingActive", |text| text.starts_with("False FailedGetExternalMetric")).await;
    pipeline.outside.postgres_faults.set(Fault::None).await;
    prove(pipeline, &accepted).await;
}

/// The depth of the ingest queue as an HPA asks for it.
async fn metric(namespace: &str) -> Result<i64, String> {
    let selector = "labelSelector=pipeline%3Dcore%2Cqueue%3Dingest";
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/mutt_queue_depth?{selector}");
    let answer: Value =
        serde_json::from_str(&run("kubectl", &["get", "--raw", &path]).await?).map_err(|error| error.to_string())?;
    let values = answer["items"].as_array().into_iter().flatten().filter_map(|item| item["value"].as_str());
    Ok(values.filter_map(|value| value.parse::<i64>().ok()).sum())
}

/// Waits for what the aggregation layer says of the API.
async fn api_service(wanted: impl Fn(&str) -> bool) {
    eventually(&format!("APIService {API_SERVICE}"), async || {
        get("default", "apiservice", API_SERVICE).await.is_some_and(|object| wanted(&condition(&object, "Available")))
    })
    .await;
}
