//! Children of every kind come back, are repaired, and go when they are no longer wanted.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject},
};
use mutt_operator::pipeline::kinds::ChildKind;
use serde_json::{Value, json};

use super::{
    foreign::install_foreign_kinds,
    harness::{Operator, Site, eventually, shared, spec},
};

/// A pipeline with children of every kind but Route, which excludes the Ingress.
fn everything() -> Value {
    let mut spec = spec("children");
    spec["forwarder"] = json!({"autoscaling": {"mode": "Resource", "minReplicas": 3, "maxReplicas": 5}});
    spec["ingestor"]["autoscaling"] = json!({"mode": "Keda", "minReplicas": 3, "maxReplicas": 5});
    spec["ingress"] = json!({"ingestHost": "ingest.example.com"});
    spec["networkPolicy"] = json!({});
    spec["monitoring"] = json!({"serviceMonitor": {}, "prometheusRule": {}});
    spec
}

/// Waits until the pipeline has a child of every kind but `without`, and gives all.
async fn complete(site: &Site, without: ChildKind) -> Vec<(ChildKind, DynamicObject)> {
    eventually("a child of every kind", async || {
        let children = site.all_children("core").await;
        let kinds: BTreeSet<_> = children.iter().map(|(kind, _)| *kind).collect();
        let deployments = children.iter().filter(|(kind, _)| *kind == ChildKind::Deployment).count();
        let all = ChildKind::ALL.iter().all(|kind| *kind == without || kinds.contains(kind));
        (all && deployments == 4).then_some(children)
    })
    .await
}

async fn started(namespace: &str) -> (Site, Operator, Vec<(ChildKind, DynamicObject)>) {
    let site = Site::new(namespace).await;
    install_foreign_kinds(&site.client).await;
    site.pipeline("core", &everything()).await;
    let operator = site.operator().await;
    site.migrated("core").await;
    let children = complete(&site, ChildKind::Route).await;
    (site, operator, children)
}

#[tokio::test]
async fn a_deleted_child_of_every_kind_comes_back() {
    let (site, operator, children) = started("children-deleted").await;
    for (kind, child) in &children {
        let (api, name) = (site.children(*kind), child.name_any());
        api.delete(&name, &DeleteParams::background()).await.unwrap();
        let what = format!("{kind} {name} is back");
        let back =
            eventually(&what, async || api.get_opt(&name).await.unwrap().filter(|object| object.uid() != child.uid()))
                .await;
        assert_eq!(back.labels(), child.labels(), "{what}");
        if *kind == ChildKind::Job {
            // Its state went with it: the schema is looked at again before anything else that needs it.
            site.migrated("core").await;
        }
    }
    operator.stop().await;
}

#[tokio::test]
async fn what_somebody_changes_in_a_child_is_repaired() {
    let (site, operator, children) = started("children-changed").await;
    for (kind, child) in &children {
        let (api, name) = (site.children(*kind), child.name_any());
        let field = "app.kubernetes.io/part-of";
        site.meddle(
            &api,
            &name,
            &json!({"metadata": {"labels": {field: "another"}, "annotations": {"mine": "stays"}}}),
        )
        .await;
        let what = format!("{kind} {name} is repaired");
        let repaired = eventually(&what, async || {
            api.get_opt(&name).await.unwrap().filter(|object| object.labels().get(field) == child.labels().get(field))
        })
        .await;
        assert_eq!(repaired.uid(), child.uid(), "{what}");
        assert_eq!(
            repaired.annotations().get("mine").map(String::as_str),
            Some("stays"),
            "{what}: what is not ours stays"
        );
    }
    let service = site.children(ChildKind::Service);
    let selector = service.get("core-ingestor").await.unwrap().data["spec"]["selector"].clone();
    site.meddle(&service, "core-ingestor", &json!({"spec": {"selector": {"app.kubernetes.io/component": "other"}}}))
        .await;
    eventually("the selector is repaired", async || {
        (service.get("core-ingestor").await.unwrap().data["spec"]["selector"] == selector).then_some(())
    })
    .await;
    // Owner reference and labels are ours, too.
    site.meddle(&service, "core-ingestor", &json!({"metadata": {"ownerReferences": null}})).await;
    eventually("the owner is repaired", async || {
        (!service.get("core-ingestor").await.unwrap().owner_references().is_empty()).then_some(())
    })
    .await;
    site.meddle(&service, "core-ingestor", &json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}))
        .await;
    eventually("the label is repaired", async || {
        service.get("core-ingestor").await.unwrap().labels().get("app.kubernetes.io/managed-by").cloned()
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn what_is_no_longer_wanted_goes_and_the_rest_stays() {
    let (site, operator, before) = started("children-orphans").await;
    site.pipeline("core", &spec("children")).await;
    let mut smaller = spec("children");
    smaller["webUi"] = Value::Null;
    site.pipeline("core", &smaller).await;
    let gone: Vec<_> = before
        .iter()
        .filter(|(kind, child)| {
            let of_web_ui = child.labels().get("app.kubernetes.io/component").is_some_and(|name| name == "webui");
            let optional = [
                ChildKind::Ingress,
                ChildKind::NetworkPolicy,
                ChildKind::ServiceMonitor,
                ChildKind::PrometheusRule,
                ChildKind::HorizontalPodAutoscaler,
                ChildKind::ScaledObject,
            ];
            of_web_ui || optional.contains(kind)
        })
        .map(|(kind, child)| (*kind, child.name_any()))
        .collect();
    assert!(gone.contains(&(ChildKind::Deployment, "core-webui".to_owned())), "{gone:?}");
    assert!(gone.contains(&(ChildKind::Service, "core-webui".to_owned())), "{gone:?}");
    assert!(gone.contains(&(ChildKind::PodDisruptionBudget, "core-webui".to_owned())), "{gone:?}");
    for (kind, name) in &gone {
        site.is_gone(*kind, name).await;
    }
    for (kind, child) in before.iter().filter(|(kind, child)| !gone.contains(&(*kind, child.name_any()))) {
        let now = site.children(*kind).get(&child.name_any()).await.unwrap();
        assert_eq!(now.uid(), child.uid(), "{kind} {} was made anew", child.name_any());
    }
    operator.stop().await;
}

#[tokio::test]
async fn every_field_that_is_written_belongs_to_one_manager() {
    let (_site, operator, children) = started("children-managers").await;
    for (kind, child) in &children {
        for entry in child.metadata.managed_fields.iter().flatten() {
            let manager = entry.manager.as_deref().unwrap();
            if entry.subresource.is_some() {
                continue;
            }
            assert!(
                manager == "mutt-operator" || manager == "mutt-operator-replicas",
                "{kind} {}: {manager}",
                child.name_any()
            );
            assert_eq!(entry.operation.as_deref(), Some("Apply"), "{kind} {}", child.name_any());
        }
        let owner = &child.owner_references()[0];
        assert_eq!(
            (owner.kind.as_str(), owner.controller, owner.block_owner_deletion),
            ("MuttPipeline", Some(true), Some(true))
        );
        for key in child.labels().keys().chain(child.annotations().keys()) {
            assert!(!key.contains("kubectl") && !key.contains("argocd"), "{kind}: {key} is copied");
        }
    }
    operator.stop().await;
}

#[tokio::test]
async fn a_restart_by_kubectl_survives() {
    let site = Site::new("children-restart").await;
    let mut spec_ = spec("restart");
    site.pipeline("core", &spec_).await;
    let operator = site.operator().await;
    site.exists(ChildKind::Deployment, "core-ingestor").await;
    // As `kubectl rollout restart` does it.
    let api: Api<Deployment> = site.api();
    let annotation = "kubectl.kubernetes.io/restartedAt";
    let restart = json!({"spec": {"template": {"metadata": {"annotations": {annotation: "2026-11-25T22:00:00Z"}}}}});
    site.meddle(&api, "core-ingestor", &restart).await;
    spec_["ingestor"]["maxQueueSize"] = json!(5000);
    site.pipeline("core", &spec_).await;
    let template = eventually("the new setting is applied", async || {
        let template = serde_json::to_value(api.get("core-ingestor").await.unwrap().spec.unwrap().template).unwrap();
        template.to_string().contains("\"5000\"").then_some(template)
    })
    .await;
    assert_eq!(template["metadata"]["annotations"][annotation], "2026-11-25T22:00:00Z");
    operator.stop().await;
}

#[tokio::test]
async fn several_namespaces_are_watched_and_others_are_not() {
    let (one, two, other) =
        (Site::new("children-one").await, Site::new("children-two").await, Site::new("children-other").await);
    for (site, prefix) in [(&one, "one"), (&two, "two"), (&other, "other")] {
        site.pipeline("core", &spec(prefix)).await;
    }
    let kubeconfig = shared().await.kubeconfig();
    let operator = Operator::start(kubeconfig, &[&one.namespace, &two.namespace]).await;
    for site in [&one, &two] {
        let child = site.exists(ChildKind::Service, "core-ingestor").await;
        site.children(ChildKind::Service).delete("core-ingestor", &DeleteParams::default()).await.unwrap();
        eventually("it is back", async || {
            let back = site.children(ChildKind::Service).get_opt("core-ingestor").await.unwrap();
            back.filter(|back| back.uid() != child.uid())
        })
        .await;
    }
    assert!(other.all_children("core").await.is_empty());
    operator.stop().await;
}
