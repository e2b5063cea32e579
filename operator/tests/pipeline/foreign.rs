//! Kinds of other projects, which come and go; objects of others that are in the way.

use k8s_openapi::{
    api::core::v1::{Service, ServiceAccount},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams},
};
use mutt_cluster::ControlPlane;
use mutt_crds::MuttPipeline;
use mutt_operator::pipeline::kinds::ChildKind;
use serde_json::json;

use super::{
    api::{install, install_one},
    harness::{Operator, Site, admin, eventually, spec},
};

/// Route, ServiceMonitor and PrometheusRule as far as the API server needs to know them.
pub(crate) async fn install_foreign_kinds(client: &Client) {
    for kind in ChildKind::ALL.iter().filter(|kind| kind.is_optional()) {
        install_one(client, &definition(*kind)).await;
    }
}

fn definition(kind: ChildKind) -> CustomResourceDefinition {
    let resource = kind.resource();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", resource.plural, resource.group)},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {"plural": resource.plural, "kind": resource.kind},
            "versions": [{
                "name": resource.version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    serde_json::from_value(definition).unwrap()
}

#[tokio::test]
async fn kinds_of_other_projects_are_used_as_soon_as_they_are_served_and_not_missed_when_they_go() {
    // With a control plane of its own: other tests install these kinds.
    let cluster = ControlPlane::start().await.unwrap();
    install(&admin(&cluster).await).await;
    let site = Site::within(&cluster, "foreign-kinds").await;
    let mut spec = spec("kinds");
    spec["monitoring"] = json!({"serviceMonitor": {}});
    site.pipeline("core", &spec).await;
    let operator = Operator::start(cluster.kubeconfig(), &[]).await;
    site.condition("core", "Degraded", "False", "ServiceMonitorNotServed").await;
    site.exists(ChildKind::Deployment, "core-ingestor").await;

    let kind = ChildKind::ServiceMonitor;
    install_one(&site.client, &definition(kind)).await;
    let served = async |wanted: bool| {
        eventually("the operator has noticed", async || {
            operator.context.apis.refresh().await.unwrap();
            (operator.context.apis.served().service_monitor == wanted).then_some(())
        })
        .await;
    };
    served(true).await;
    site.condition("core", "Degraded", "False", "AsExpected").await;
    let monitor = site.all_children("core").await.into_iter().find(|(other, _)| *other == kind).unwrap().1;
    // It is watched, too.
    site.children(kind).delete(&monitor.name_any(), &DeleteParams::default()).await.unwrap();
    site.exists(kind, &monitor.name_any()).await;

    let definitions: Api<CustomResourceDefinition> = Api::all(site.client.clone());
    let resource = kind.resource();
    let name = format!("{}.{}", resource.plural, resource.group);
    definitions.delete(&name, &DeleteParams::default()).await.unwrap();
    served(false).await;
    site.condition("core", "Degraded", "False", "ServiceMonitorNotServed").await;
    // Everything else is looked after as before.
    site.children(ChildKind::Service).delete("core-ingestor", &DeleteParams::default()).await.unwrap();
    site.exists(ChildKind::Service, "core-ingestor").await;
    operator.stop().await;
}

#[tokio::test]
async fn an_object_of_somebody_else_is_not_touched() {
    let site = Site::new("foreign-taken").await;
    let service = json!({"metadata": {"name": "core-ingestor"}, "spec": {"ports": [{"port": 1}]}});
    let service: Service = serde_json::from_value(service).unwrap();
    let made = site.api::<Service>().create(&PostParams::default(), &service).await.unwrap();
    site.pipeline("core", &spec("taken")).await;
    let operator = site.operator().await;
    let message = site.condition("core", "Degraded", "True", "NameTaken").await;
    assert!(message.contains("Service core-ingestor"), "{message}");
    // All others are there.
    site.exists(ChildKind::Deployment, "core-ingestor").await;
    let now = site.api::<Service>().get("core-ingestor").await.unwrap();
    assert_eq!(now.resource_version(), made.resource_version());
    // As soon as it is out of the way, the pipeline's own is made.
    site.api::<Service>().delete("core-ingestor", &DeleteParams::default()).await.unwrap();
    site.condition("core", "Degraded", "False", "AsExpected").await;
    let ours = site.exists(ChildKind::Service, "core-ingestor").await;
    assert_eq!(ours.owner_references()[0].name, "core");
    operator.stop().await;
}

#[tokio::test]
async fn the_child_of_another_pipeline_is_not_taken() {
    let site = Site::new("foreign-pipeline").await;
    let owner = site.pipeline("other", &spec("other")).await;
    let owner = json!([{
        "apiVersion": "mutt.dev/v1alpha1", "kind": "MuttPipeline", "name": "other", "uid": owner.uid(), "controller": true,
    }]);
    let account = json!({"metadata": {"name": "core-ingestor", "ownerReferences": owner, "labels": {
        "app.kubernetes.io/managed-by": "mutt-operator", "mutt.dev/pipeline": "core",
    }}, "spec": {"ports": [{"port": 1}]}});
    site.api::<Service>().create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await.unwrap();
    site.pipeline("core", &spec("core")).await;
    let operator = site.operator().await;
    // The one that owns it does not want it: it goes as an orphan, and the one that wants it makes its own.
    eventually("it is the other's now", async || {
        let service = site.get::<Service>("core-ingestor").await?;
        (service.owner_references()[0].name == "core").then_some(())
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn a_field_that_cannot_be_changed_is_said_and_nothing_is_deleted() {
    let site = Site::new("foreign-immutable").await;
    let pipeline = site.pipeline("core", &spec("immutable")).await;
    // A Deployment as an older operator might have made it, with another selector.
    let labels = json!({"old": "selector"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "core-ingestor", "labels": {"app.kubernetes.io/managed-by": "mutt-operator", "mutt.dev/pipeline": "core"}, "ownerReferences": [{
            "apiVersion": "mutt.dev/v1alpha1", "kind": "MuttPipeline", "name": "core", "uid": pipeline.uid(), "controller": true,
        }]},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "old", "image": "old"}]},
        }},
    });
    let made = site.children(ChildKind::Deployment);
    let made = made.create(&PostParams::default(), &serde_json::from_value(deployment).unwrap()).await.unwrap();
    let operator = site.operator().await;
    let message = site.condition("core", "Degraded", "True", "ChildRefused").await;
    assert!(message.contains("Deployment core-ingestor") && message.contains("immutable"), "{message}");
    site.exists(ChildKind::Deployment, "core-forwarder").await;
    assert_eq!(site.exists(ChildKind::Deployment, "core-ingestor").await.uid(), made.uid());
    // What runs in the old form is still counted.
    site.runs("core-ingestor").await;
    eventually("the old pod is ready", async || {
        let components = site.get::<mutt_crds::MuttPipeline>("core").await?.status?.components;
        components.iter().any(|role| role.name == "ingestor" && role.ready == 1).then_some(())
    })
    .await;
    // Deleted by hand, it is made anew.
    site.children(ChildKind::Deployment).delete("core-ingestor", &DeleteParams::background()).await.unwrap();
    site.condition("core", "Degraded", "False", "AsExpected").await;
    operator.stop().await;
}

#[tokio::test]
async fn a_child_that_lost_its_owner_is_taken_on() {
    let site = Site::new("foreign-adopted").await;
    site.pipeline("core", &spec("adopted")).await;
    let operator = site.operator().await;
    let before = site.exists(ChildKind::ServiceAccount, &site.account().await).await;
    // As with `kubectl delete --cascade=orphan`, and the pipeline made anew.
    operator.stop().await;
    site.meddle(&site.api::<ServiceAccount>(), &before.name_any(), &json!({"metadata": {"ownerReferences": null}}))
        .await;
    site.api::<MuttPipeline>().delete("core", &DeleteParams::background()).await.unwrap();
    eventually("it is gone", async || site.get::<MuttPipeline>("core").await.is_none().then_some(())).await;
    let anew = site.pipeline("core", &spec("adopted")).await;
    let operator = site.operator().await;
    eventually("it has its owner", async || {
        let account = site.get::<ServiceAccount>(&before.name_any()).await?;
        assert_eq!(account.uid(), before.uid(), "it is the same object");
        let owner = account.owner_references().first().map(|owner| Some(owner.uid.clone()));
        (owner == Some(anew.uid())).then_some(())
    })
    .await;
    operator.stop().await;
}

impl Site {
    /// Name of the account of the pipeline's pods.
    async fn account(&self) -> String {
        eventually("the account", async || {
            let children = self.all_children("core").await;
            children.into_iter().find(|(kind, _)| *kind == ChildKind::ServiceAccount).map(|(_, child)| child.name_any())
        })
        .await
    }
}
