//! What scales a role, and its number of pods on the way from one to the next: never a dip, never two autoscalers.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use mutt_cluster::{ControlPlane, ControlPlaneOptions};
use mutt_operator::{external_metrics::Standing, pipeline::kinds::ChildKind};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    api::install,
    harness::{Operator, Site, admin, eventually, spec},
    steady::looked_at_again,
};

pub(crate) const NAME: &str = "core-forwarder";
const HPA: ChildKind = ChildKind::HorizontalPodAutoscaler;

/// A pipeline without a rate limit, so that more forwarders do more.
pub(crate) fn with_forwarder(forwarder: &Value) -> Value {
    let mut spec = spec("autoscaling");
    spec["moogsoft"]["rateLimit"] = json!({"alerts": 0});
    spec["forwarder"] = forwarder.clone();
    spec
}

pub(crate) fn autoscaled(mode: &str, least: i32) -> Value {
    with_forwarder(&json!({"autoscaling": {"mode": mode, "minReplicas": least, "maxReplicas": 9}}))
}

/// Whoever asks for it, as an autoscaler does: by the scale subresource.
pub(crate) async fn scale(api: &Api<Deployment>, by: &str, replicas: i32) {
    let params = PatchParams { field_manager: Some(by.to_owned()), ..PatchParams::default() };
    api.patch_scale(NAME, &params, &Patch::Merge(json!({"spec": {"replicas": replicas}}))).await.unwrap();
}

pub(crate) async fn replicas(api: &Api<Deployment>, wanted: i32) {
    eventually(&format!("{wanted} replicas"), async || {
        (api.get(NAME).await.unwrap().spec.unwrap().replicas == Some(wanted)).then_some(())
    })
    .await;
}

/// Every number of pods that the Deployment ever has, in the order of its changes.
pub(crate) struct Numbers {
    seen: Arc<Mutex<Vec<i32>>>,
    watch: JoinHandle<()>,
}

impl Numbers {
    /// Begins once the Deployment is there.
    pub(crate) async fn watch(site: &Site) -> Self {
        site.exists(ChildKind::Deployment, NAME).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (numbers, api) = (seen.clone(), site.api::<Deployment>());
        let watch = tokio::spawn(async move {
            let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
            let mut changes = std::pin::pin!(watcher(api, config).applied_objects());
            while let Some(change) = changes.next().await {
                let number = change.unwrap().spec.unwrap().replicas.unwrap();
                let mut numbers = numbers.lock().unwrap();
                if numbers.last() != Some(&number) {
                    numbers.push(number);
                }
            }
        });
        let this = Self { seen, watch };
        eventually("the watch sees it", async || (!this.seen.lock().unwrap().is_empty()).then_some(())).await;
        this
    }

    /// Waits until the last number has been seen; all of them.
    pub(crate) async fn were(self, expected: &[i32]) {
        eventually("the last number is seen", async || {
            (self.seen.lock().unwrap().last() == expected.last()).then_some(())
        })
        .await;
        self.watch.abort();
        assert_eq!(*self.seen.lock().unwrap(), expected);
    }
}

/// Metrics that the HorizontalPodAutoscaler looks at: names of external ones, and `cpu`.
pub(crate) async fn looks_at(site: &Site, metrics: &[&str]) {
    eventually(&format!("it looks at {metrics:?}"), async || {
        let scaler = site.get::<HorizontalPodAutoscaler>(NAME).await?;
        let found = scaler.spec?.metrics?.into_iter().map(|metric| match metric.external {
            Some(external) => external.metric.name,
            None => metric.resource.map(|resource| resource.name).unwrap_or_default(),
        });
        (found.collect::<Vec<_>>() == metrics).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_number_of_pods_never_falls_on_its_way_through_the_modes() {
    let site = Site::new("autoscaling").await;
    site.pipeline("core", &with_forwarder(&json!({"replicas": 4}))).await;
    let operator = site.operator().await;
    let api: Api<Deployment> = site.api();
    let numbers = Numbers::watch(&site).await;

    site.pipeline("core", &autoscaled("External", 2)).await;
    looks_at(&site, &["mutt_queue_depth"]).await;
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
    scale(&api, "kube-controller-manager", 7).await;
    let mut spec = autoscaled("External", 2);
    spec["logLevel"] = json!("DEBUG");
    site.pipeline("core", &spec).await;
    eventually("the new setting is applied", async || {
        serde_json::to_string(&api.get(NAME).await.unwrap()).unwrap().contains("DEBUG").then_some(())
    })
    .await;

    // To nobody, to somebody, and back.
    site.pipeline("core", &autoscaled("None", 2)).await;
    site.is_gone(HPA, NAME).await;
    let message = site.condition("core", "AutoscalingReady", "True", "None").await;
    assert_eq!(message, "forwarder: None (as set)");
    replicas(&api, 7).await;
    scale(&api, "kubectl", 6).await;
    site.pipeline("core", &autoscaled("External", 2)).await;
    looks_at(&site, &["mutt_queue_depth"]).await;
    site.pipeline("core", &autoscaled("Resource", 2)).await;
    looks_at(&site, &["cpu"]).await;
    site.pipeline("core", &autoscaled("External", 2)).await;
    looks_at(&site, &["mutt_queue_depth"]).await;
    replicas(&api, 6).await;

    // Back: what the pipeline says, as soon as nobody answers any more.
    site.meddle(&site.children(HPA), NAME, &json!({"metadata": {"finalizers": ["example.com/held"]}})).await;
    site.pipeline("core", &with_forwarder(&json!({"replicas": 4}))).await;
    let message = site.condition("core", "AutoscalingReady", "Unknown", "Switching").await;
    assert!(message.contains("held by example.com/held"), "{message}");
    replicas(&api, 6).await;
    site.meddle(&site.children(HPA), NAME, &json!({"metadata": {"finalizers": null}})).await;
    replicas(&api, 4).await;
    site.is_gone(HPA, NAME).await;
    numbers.were(&[4, 7, 6, 4]).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_new_deployment_begins_with_the_least_that_its_autoscaler_allows() {
    let site = Site::new("autoscaling-new").await;
    site.pipeline("core", &autoscaled("Resource", 3)).await;
    let operator = site.operator().await;
    site.exists(HPA, NAME).await;
    replicas(&site.api(), 3).await;
    site.condition("core", "AutoscalingReady", "Unknown", "Pending").await;
    let says = |status: &str, reason: &str| {
        json!({"status": {"currentReplicas": 3, "desiredReplicas": 3, "conditions": [
            {"type": "ScalingActive", "status": status, "reason": reason, "message": "said by the test"},
        ]}})
    };
    let scaler = site.children(HPA);
    for (status, reason, expected) in [
        ("False", "FailedGetResourceMetric", ("False", "FailedGetResourceMetric")),
        ("True", "ValidMetricFound", ("True", "Resource")),
    ] {
        scaler.patch_status(NAME, &PatchParams::default(), &Patch::Merge(says(status, reason))).await.unwrap();
        site.condition("core", "AutoscalingReady", expected.0, expected.1).await;
    }
    operator.stop().await;
}

#[tokio::test]
async fn auto_follows_who_has_the_api_and_the_api_is_wanted_only_then() {
    // With a control plane of its own: other tests install a definition of KEDA's.
    let cluster = ControlPlane::start().await.unwrap();
    install(&admin(&cluster).await).await;
    let site = Site::within(&cluster, "autoscaling-auto").await;
    let operator = Operator::start(cluster.kubeconfig(), &[]).await;
    let metrics = &operator.context.external_metrics;
    let wanted = async |wanted: bool| {
        eventually("it is wanted or not", async || (*metrics.wanted().borrow() == wanted).then_some(())).await;
    };
    site.pipeline("core", &autoscaled("Auto", 2)).await;
    looks_at(&site, &["mutt_queue_depth"]).await;
    wanted(true).await;
    // What is not known leaves everything as it is.
    metrics.set_standing(Standing::Unknown);
    site.condition("core", "AutoscalingReady", "Unknown", "NotYetKnown").await;
    looks_at(&site, &["mutt_queue_depth"]).await;
    wanted(true).await;
    metrics.set_standing(Standing::Taken("Service adapters/other".to_owned()));
    looks_at(&site, &["cpu"]).await;
    wanted(false).await;
    site.pipeline("core", &autoscaled("External", 2)).await;
    let message = site.condition("core", "AutoscalingReady", "False", "ExternalMetricsNotServed").await;
    assert!(message.contains("Service adapters/other") && message.contains("spec.forwarder"), "{message}");
    site.is_gone(HPA, NAME).await;
    metrics.set_standing(Standing::Ours);
    looks_at(&site, &["mutt_queue_depth"]).await;
    wanted(true).await;
    site.api::<mutt_crds::MuttPipeline>().delete("core", &DeleteParams::default()).await.unwrap();
    wanted(false).await;
    operator.stop().await;
}

#[tokio::test]
async fn somebody_elses_autoscaler_is_said_and_not_touched() {
    let site = Site::new("autoscaling-foreign").await;
    let foreign = json!({"metadata": {"name": "theirs"}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}, "minReplicas": 1, "maxReplicas": 3,
    }});
    let theirs = site.children(HPA);
    let made = theirs.create(&PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();
    site.pipeline("core", &autoscaled("External", 2)).await;
    let operator = site.operator().await;
    let message = site.condition("core", "AutoscalingReady", "False", "OtherAutoscaler").await;
    assert!(message.contains("HorizontalPodAutoscaler theirs"), "{message}");
    assert!(site.children(HPA).get_opt(NAME).await.unwrap().is_none(), "never two");
    assert_eq!(theirs.get("theirs").await.unwrap().resource_version(), made.resource_version());
    // Who leaves it to the other is told no trouble.
    site.pipeline("core", &autoscaled("None", 2)).await;
    site.condition("core", "AutoscalingReady", "True", "None").await;
    site.condition("core", "Degraded", "False", "AsExpected").await;
    site.pipeline("core", &autoscaled("External", 2)).await;
    site.condition("core", "AutoscalingReady", "False", "OtherAutoscaler").await;
    theirs.delete("theirs", &DeleteParams::default()).await.unwrap();
    looks_at(&site, &["mutt_queue_depth"]).await;
    operator.stop().await;
}

#[tokio::test]
async fn zero_pods_where_the_api_server_takes_them() {
    let least = async |site: &Site| site.exists(HPA, NAME).await.data["spec"]["minReplicas"].clone();
    let site = Site::new("autoscaling-zero").await;
    site.pipeline("core", &autoscaled("External", 0)).await;
    let operator = site.operator().await;
    let message = site.condition("core", "Degraded", "False", "ScaleToZeroNotServed").await;
    assert!(message.contains("spec.forwarder.autoscaling.minReplicas") && message.contains("1.37"), "{message}");
    assert_eq!(least(&site).await, 1);
    operator.stop().await;

    let cluster = ControlPlaneOptions::new().feature_gate("HPAScaleToZero", true).start().await.unwrap();
    install(&admin(&cluster).await).await;
    let site = Site::within(&cluster, "autoscaling-zero").await;
    site.pipeline("core", &autoscaled("Auto", 0)).await;
    let operator = Operator::start(cluster.kubeconfig(), &[]).await;
    assert_eq!(least(&site).await, 0);
    // Not with none: that would be taken for somebody's wish not to be scaled.
    replicas(&site.api(), 1).await;
    site.condition("core", "Degraded", "False", "AsExpected").await;
    // What takes its place would never wake them.
    scale(&site.api(), "kube-controller-manager", 0).await;
    operator.context.external_metrics.set_standing(Standing::Taken("Service adapters/other".to_owned()));
    looks_at(&site, &["cpu"]).await;
    replicas(&site.api(), 1).await;
    // Somebody's wish is one.
    scale(&site.api(), "kubectl", 0).await;
    looked_at_again(&site, &operator, 1).await;
    looked_at_again(&site, &operator, 2).await;
    replicas(&site.api(), 0).await;
    operator.stop().await;
}
