//! What the controllers are given: optional APIs and Events.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{core::v1::ConfigMap, events::v1::Event},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, Resource,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use mutt_cluster::ControlPlane;
use mutt_operator::runtime::{client::client_of, discovery::ServedApis, events::Events, metrics::Metrics};
use mutt_servers::{Fault, FaultProxy};
use serde_json::json;
use tokio::time::timeout;

use super::{LIMIT, client, eventually};

async fn shared() -> Client {
    client(ControlPlane::shared().await.unwrap().kubeconfig(), None).await
}

#[tokio::test]
async fn optional_apis_are_noticed_when_they_come_and_when_they_go() {
    let client = shared().await;
    let apis = ServedApis::new(client.clone());
    apis.refresh().await.unwrap();
    assert!(!apis.served().keda);
    let mut changes = apis.changes();
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let name = "scaledobjects.keda.sh";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": "keda.sh",
            "scope": "Namespaced",
            "names": {"plural": "scaledobjects", "kind": "ScaledObject"},
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    definitions.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    timeout(LIMIT, await_condition(definitions.clone(), name, is_crd_established())).await.unwrap().unwrap();
    let refreshed = async |served: bool| {
        eventually("the change is noticed", async || {
            apis.refresh().await.unwrap();
            (apis.served().keda == served).then_some(())
        })
        .await;
    };
    refreshed(true).await;
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    apis.refresh().await.unwrap();
    assert!(!changes.has_changed().unwrap(), "nothing new is no change");
    definitions.delete(name, &DeleteParams::default()).await.unwrap();
    refreshed(false).await;
    assert!(changes.has_changed().unwrap());
}

#[tokio::test]
async fn an_event_is_written_once_for_the_same_words_and_again_for_others() {
    let client = shared().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let metadata = ObjectMeta { name: Some("regarded".to_owned()), ..ObjectMeta::default() };
    let map = maps.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await.unwrap();
    let events = Events::new(client.clone(), "operator-0");
    for note in ["bad regex at 3", "bad regex at 3", "bad regex at 7", "bad regex at 3"] {
        events.warning(&map.object_ref(&()), "RuleRejected", "Compile", note).await;
    }
    let all = Api::<Event>::namespaced(client, "default").list(&ListParams::default()).await.unwrap();
    let about = |event: &Event| event.regarding.as_ref().and_then(|object| object.uid.clone()) == map.metadata.uid;
    let mut notes: Vec<_> = all.into_iter().filter(about).filter_map(|event| event.note).collect();
    notes.sort();
    assert_eq!(notes, ["bad regex at 3", "bad regex at 7"]);
}

#[tokio::test]
async fn a_request_to_an_api_server_that_went_silent_is_given_up() {
    let cluster = ControlPlane::shared().await.unwrap();
    let port: u16 = cluster.url().rsplit(':').next().unwrap().parse().unwrap();
    let proxy = FaultProxy::start(port).await.unwrap();
    let mut kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    kubeconfig.clusters[0].cluster.as_mut().unwrap().server = Some(proxy.through(cluster.url(), port));
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = client_of(config, Arc::new(Metrics::new().unwrap()), Duration::from_secs(5)).unwrap();
    eventually("it answers", async || client.apiserver_version().await.ok()).await;
    // The connection that is open already is the one that falls silent.
    proxy.set(Fault::HalfOpen).await;
    let error = timeout(LIMIT, client.apiserver_version()).await.expect("given up").unwrap_err();
    assert!(error.to_string().contains("has not answered GET /version"), "{error}");
}
