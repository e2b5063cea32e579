//! Roles that KEDA scales, with KEDA's own definition and a real garbage collector. The tests play KEDA's operator; the real one
//! runs in `make keda`.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use futures_util::StreamExt;
use k8s_openapi::{
    api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event, watcher},
};
use mutt_cluster::{ControlPlaneOptions, Keda};
use mutt_operator::pipeline::kinds::ChildKind;
use serde_json::json;
use tokio::task::JoinHandle;

use super::{
    api::{install, install_one},
    autoscaling::{NAME, Numbers, autoscaled, replicas, scale, with_forwarder},
    harness::{Operator, Site, admin, eventually},
    steady::looked_at_again,
};

const HPA: ChildKind = ChildKind::HorizontalPodAutoscaler;
const OBJECT: ChildKind = ChildKind::ScaledObject;
const KEDAS_HPA: &str = "keda-hpa-core-forwarder";
const FINALIZER: &str = "finalizer.keda.sh";

/// The definition as KEDA's module has it.
fn definition() -> CustomResourceDefinition {
    let file = Keda::cached().definitions().unwrap().join("keda.sh_scaledobjects.yaml");
    serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Waits until the operator has noticed that KEDA has come or gone.
async fn keda_is_served(operator: &Operator, served: bool) {
    eventually("the operator has noticed", async || {
        operator.context.apis.refresh().await.unwrap();
        (operator.context.apis.served().keda == served).then_some(())
    })
    .await;
}

/// Does what KEDA does with a ScaledObject that it sees for the first time.
async fn keda_takes_it_up(site: &Site) {
    let object = site.exists(OBJECT, NAME).await;
    let taken_up = json!({"metadata": {"finalizers": [FINALIZER], "labels": {"scaledobject.keda.sh/name": NAME}}});
    site.meddle(&site.children(OBJECT), NAME, &taken_up).await;
    let spec = &object.data["spec"];
    let owner = json!([{
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": NAME, "uid": object.uid(),
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let scaler = json!({"metadata": {"name": KEDAS_HPA, "labels": object.labels(), "ownerReferences": owner}, "spec": {
        "scaleTargetRef": spec["scaleTargetRef"], "minReplicas": spec["minReplicaCount"].as_i64().unwrap().max(1),
        "maxReplicas": spec["maxReplicaCount"], "behavior": spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
        "metrics": [{"type": "External", "external": {
            "metric": {"name": "s0-metric-api-alert-depth", "selector": {"matchLabels": {"scaledobject.keda.sh/name": NAME}}},
            "target": {"type": "AverageValue", "averageValue": "1k"},
        }}],
    }});
    site.children(HPA).create(&PostParams::default(), &serde_json::from_value(scaler).unwrap()).await.unwrap();
    let condition =
        |type_: &str, status: &str, reason: &str| json!({"type": type_, "status": status, "reason": reason});
    let status = json!({"status": {"hpaName": KEDAS_HPA, "conditions": [
        condition("Ready", "True", "ScaledObjectReady"), condition("Active", "True", "ScalerActive"),
        condition("Fallback", "False", "NoFallbackFound"), condition("Paused", "False", "NotPaused"),
    ]}});
    site.children(OBJECT).patch_status(NAME, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

/// Ends the ScaledObject as KEDA does.
async fn keda_lets_go(site: &Site) {
    site.meddle(&site.children(OBJECT), NAME, &json!({"metadata": {"finalizers": null}})).await;
}

/// The HorizontalPodAutoscalers of the namespace; how many there were at the same time at most.
struct Scalers {
    most: Arc<Mutex<BTreeSet<String>>>,
    watch: JoinHandle<()>,
}

impl Scalers {
    fn watch(site: &Site) -> Self {
        let most = Arc::new(Mutex::new(BTreeSet::new()));
        let (seen, api) = (most.clone(), site.api::<HorizontalPodAutoscaler>());
        let watch = tokio::spawn(async move {
            let mut now = BTreeSet::new();
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => _ = now.insert(object.name_any()),
                    Ok(Event::Delete(object)) => _ = now.remove(&object.name_any()),
                    Ok(Event::Init) => now.clear(),
                    Ok(Event::InitDone) | Err(_) => {}
                }
                let mut most = seen.lock().unwrap();
                if now.len() > most.len() {
                    most.clone_from(&now);
                }
            }
        });
        Self { most, watch }
    }

    fn never_were_two(self) {
        self.watch.abort();
        assert!(self.most.lock().unwrap().len() == 1, "{:?}", self.most.lock().unwrap());
    }
}

#[tokio::test]
async fn keda_takes_over_and_gives_back_without_a_dip_and_never_beside_another() {
    let cluster = ControlPlaneOptions::new().controller_manager().start().await.unwrap();
    install(&admin(&cluster).await).await;
    let site = Site::within(&cluster, "keda").await;
    let api: Api<Deployment> = site.api();
    site.pipeline("core", &autoscaled("External", 2)).await;
    let operator = Operator::start(cluster.kubeconfig(), &[]).await;
    let (numbers, scalers) = (Numbers::watch(&site).await, Scalers::watch(&site));
    site.exists(HPA, NAME).await;
    scale(&api, "kube-controller-manager", 5).await;

    // Wanted before it is there: the pods stay, and it is said what to do.
    site.pipeline("core", &autoscaled("Keda", 2)).await;
    let message = site.condition("core", "AutoscalingReady", "False", "KedaNotServed").await;
    assert!(message.contains("KEDA is not installed"), "{message}");
    site.is_gone(HPA, NAME).await;
    install_one(&site.client, &definition()).await;
    keda_is_served(&operator, true).await;
    let object = site.exists(OBJECT, NAME).await;
    assert_eq!(
        object.data["spec"]["triggers"][0]["metadata"]["url"],
        "http://operator-metrics.mutt-system.svc:8080/scaling/keda/core"
    );
    site.condition("core", "AutoscalingReady", "Unknown", "Pending").await;
    keda_takes_it_up(&site).await;
    // Its HorizontalPodAutoscaler has nobody to ask here, which is the trouble that is to be said.
    let message = site.condition("core", "AutoscalingReady", "False", "FailedGetExternalMetric").await;
    assert!(message.contains(KEDAS_HPA), "{message}");
    looked_at_again(&site, &operator, 1).await;
    let writes = operator.writes();
    looked_at_again(&site, &operator, 2).await;
    assert_eq!(operator.writes(), writes, "what is as it should be is written no more");

    // Back: not before KEDA and the garbage collector are done.
    site.pipeline("core", &autoscaled("External", 2)).await;
    let message = site.condition("core", "AutoscalingReady", "Unknown", "Switching").await;
    assert!(message.contains("ScaledObject core-forwarder is gone") && message.contains(FINALIZER), "{message}");
    assert!(site.children(HPA).get_opt(NAME).await.unwrap().is_none());
    keda_lets_go(&site).await;
    site.exists(HPA, NAME).await;

    // Where KEDA is, Auto is KEDA; a number of one's own waits for the end of KEDA's autoscaler.
    site.pipeline("core", &autoscaled("Auto", 2)).await;
    keda_takes_it_up(&site).await;
    site.pipeline("core", &with_forwarder(&json!({"replicas": 6}))).await;
    let message = site.condition("core", "AutoscalingReady", "Unknown", "Switching").await;
    assert!(message.starts_with("forwarder: waits until"), "{message}");
    replicas(&api, 5).await;
    keda_lets_go(&site).await;
    replicas(&api, 6).await;
    site.condition("core", "AutoscalingReady", "True", "None").await;
    numbers.were(&[2, 5, 6]).await;
    scalers.never_were_two();
    operator.stop().await;
}

#[tokio::test]
async fn pods_that_keda_has_put_to_sleep_are_woken_when_it_goes() {
    let cluster = ControlPlaneOptions::new().controller_manager().start().await.unwrap();
    let client = admin(&cluster).await;
    install(&client).await;
    install_one(&client, &definition()).await;
    let site = Site::within(&cluster, "keda-gone").await;
    let api: Api<Deployment> = site.api();
    site.pipeline("core", &autoscaled("Auto", 0)).await;
    let operator = Operator::start(cluster.kubeconfig(), &[]).await;
    keda_takes_it_up(&site).await;
    let object = site.exists(OBJECT, NAME).await;
    assert_eq!(
        (&object.data["spec"]["minReplicaCount"], &object.data["spec"]["pollingInterval"]),
        (&json!(0), &json!(10))
    );
    scale(&api, "keda", 0).await;
    // As it says itself, that is no trouble.
    site.condition("core", "AutoscalingReady", "True", "Keda").await;

    let definitions: Api<CustomResourceDefinition> = Api::all(site.client.clone());
    definitions.delete("scaledobjects.keda.sh", &DeleteParams::default()).await.unwrap();
    // As where KEDA itself went first: nobody is left to let the ScaledObject go.
    keda_is_served(&operator, false).await;
    let message = site.condition("core", "AutoscalingReady", "Unknown", "Switching").await;
    assert!(message.contains("External waits until ScaledObject") && message.contains(FINALIZER), "{message}");
    replicas(&api, 1).await;
    keda_lets_go(&site).await;
    site.exists(HPA, NAME).await;
    site.is_gone(HPA, KEDAS_HPA).await;
    replicas(&api, 1).await;
    operator.stop().await;
}
