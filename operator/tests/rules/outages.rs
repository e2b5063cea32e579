//! The API server goes away; a stored object cannot be read. On a control plane of its own, all namespaces.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use mutt_cluster::ControlPlane;
use serde_json::json;

use crate::site::{Site, client_of, eventually, shared_redis};

#[tokio::test]
async fn an_api_server_that_was_away_and_an_unreadable_rule_stall_nothing() {
    let mut cluster = ControlPlane::start().await.unwrap();
    let mut site = Site::on(client_of(&cluster).await, &shared_redis().await.url(), "outage").await;
    let _alerter = site.alerter("a");
    site.watch_all();
    site.start();
    site.pipeline(
        "core",
        json!({"ruleNamespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": site.namespace}}}),
    )
    .await;
    site.rule("one", json!({}), "x").await;
    site.until("one", "Accepted/Active core=1/1").await;

    cluster.stop_api_server().unwrap();
    cluster.start_api_server().await.unwrap();
    site.rule("two", json!({}), "y").await;
    site.until("two", "Accepted/Active core=1/1").await;

    // A definition of another version stored what this one cannot read.
    let definitions: Api<CustomResourceDefinition> = Api::all(site.client.clone());
    let lax = json!({"spec": {"versions": [{"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    definitions.patch("alertrules.mutt.dev", &PatchParams::default(), &Patch::Merge(lax)).await.unwrap();
    let broken = json!({"apiVersion": "mutt.dev/v1alpha1", "kind": "AlertRule",
                        "metadata": {"name": "broken", "namespace": site.namespace}, "spec": {"match": 7}});
    eventually(async || {
        let patch = Patch::Apply(&broken);
        let applied = site.rules().patch_metadata("broken", &PatchParams::apply("test").force(), &patch).await;
        applied.map(drop).map_err(|error| error.to_string())
    })
    .await;
    site.rule("three", json!({}), "z").await;
    site.until("three", "Accepted/Active core=1/1").await;
    site.until_served(&["one:x", "three:z", "two:y"]).await;
    let events: Api<Event> = Api::namespaced(site.client.clone(), &site.namespace);
    eventually(async || {
        let events = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let told = events.iter().any(|event| event.reason.as_deref() == Some("Unreadable"));
        if told { Ok(()) } else { Err(format!("an Event; seen {events:?}")) }
    })
    .await;
    site.stop().await;
}
