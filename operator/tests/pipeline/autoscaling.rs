//! The number of pods goes to an autoscaler and back, without a dip.

use std::sync::{
    Arc,
    atomic::{AtomicI32, Ordering},
};

use futures_util::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use mutt_operator::pipeline::kinds::ChildKind;
use serde_json::{Value, json};

use super::harness::{Site, eventually, spec};

const NAME: &str = "core-forwarder";

fn with_forwarder(forwarder: &Value) -> Value {
    let mut spec = spec("autoscaling");
    spec["forwarder"] = forwarder.clone();
    spec
}

/// Whoever asks for it, as an autoscaler does: by the scale subresource.
async fn scale(api: &Api<Deployment>, replicas: i32) {
    let params = PatchParams { field_manager: Some("kube-controller-manager".to_owned()), ..PatchParams::default() };
    api.patch_scale(NAME, &params, &Patch::Merge(json!({"spec": {"replicas": replicas}}))).await.unwrap();
}

async fn replicas(api: &Api<Deployment>, wanted: i32) {
    eventually(&format!("{wanted} replicas"), async || {
        (api.get(NAME).await.unwrap().spec.unwrap().replicas == Some(wanted)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_number_of_pods_never_falls_on_its_way_to_an_autoscaler_and_back() {
    let site = Site::new("autoscaling").await;
    site.pipeline("core", &with_forwarder(&json!({"replicas": 4}))).await;
    let operator = site.operator().await;
    site.exists(ChildKind::Deployment, NAME).await;
    let api: Api<Deployment> = site.api();
    // Every number that the Deployment ever has, in the order of its changes.
    let least = Arc::new(AtomicI32::new(i32::MAX));
    let (seen, watched) = (least.clone(), api.clone());
    let watch = tokio::spawn(async move {
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let mut changes = std::pin::pin!(watcher(watched, config).applied_objects());
        while let Some(change) = changes.next().await {
            seen.fetch_min(change.unwrap().spec.unwrap().replicas.unwrap(), Ordering::SeqCst);
        }
    });
    eventually("the watch sees it", async || (least.load(Ordering::SeqCst) == 4).then_some(())).await;

    site.pipeline("core", &with_forwarder(&json!({"autoscaling": {"minReplicas": 2, "maxReplicas": 9}}))).await;
    site.exists(ChildKind::HorizontalPodAutoscaler, NAME).await;
    let owners = async || {
        let deployment = api.get(NAME).await.unwrap();
        let fields = deployment.metadata.managed_fields.unwrap();
        let owners = fields
            .into_iter()
            .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| !fields.0["f:spec"]["f:replicas"].is_null()));
        owners.filter_map(|entry| entry.manager).collect::<Vec<_>>()
    };
    eventually("the number is no longer ours", async || (owners().await == ["mutt-operator-replicas"]).then_some(()))
        .await;
    replicas(&api, 4).await;

    // The autoscaler's word is left alone, also when something else changes.
    scale(&api, 7).await;
    let mut spec = with_forwarder(&json!({"autoscaling": {"minReplicas": 2, "maxReplicas": 9}}));
    spec["logLevel"] = json!("DEBUG");
    site.pipeline("core", &spec).await;
    eventually("the new setting is applied", async || {
        serde_json::to_string(&api.get(NAME).await.unwrap()).unwrap().contains("DEBUG").then_some(())
    })
    .await;
    replicas(&api, 7).await;

    // Back: what the pipeline says, at once, and nobody answers any more.
    site.pipeline("core", &with_forwarder(&json!({"replicas": 4}))).await;
    replicas(&api, 4).await;
    site.is_gone(ChildKind::HorizontalPodAutoscaler, NAME).await;
    assert!(least.load(Ordering::SeqCst) >= 4, "it fell to {}", least.load(Ordering::SeqCst));
    watch.abort();
    operator.stop().await;
}

#[tokio::test]
async fn a_new_deployment_begins_with_the_least_that_its_autoscaler_allows() {
    let site = Site::new("autoscaling-new").await;
    site.pipeline("core", &with_forwarder(&json!({"autoscaling": {"minReplicas": 3, "maxReplicas": 9}}))).await;
    let operator = site.operator().await;
    site.exists(ChildKind::HorizontalPodAutoscaler, NAME).await;
    replicas(&site.api(), 3).await;
    site.condition("core", "AutoscalingReady", "Unknown", "Pending").await;
    let says = |status: &str, reason: &str| {
        json!({"status": {"currentReplicas": 3, "desiredReplicas": 3, "conditions": [
            {"type": "ScalingActive", "status": status, "reason": reason, "message": "said by the test"},
        ]}})
    };
    let scaler = site.children(ChildKind::HorizontalPodAutoscaler);
    for (status, reason, expected) in [
        ("False", "FailedGetResourceMetric", ("False", "FailedGetResourceMetric")),
        ("True", "ValidMetricFound", ("True", "Resource")),
    ] {
        scaler.patch_status(NAME, &PatchParams::default(), &Patch::Merge(says(status, reason))).await.unwrap();
        site.condition("core", "AutoscalingReady", expected.0, expected.1).await;
    }
    operator.stop().await;
}
