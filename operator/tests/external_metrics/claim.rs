//! The APIService comes and goes: taken while it is wanted, left alone while it is another's, gone with the installation.

use k8s_openapi::{api::core::v1::Namespace, kube_aggregator::pkg::apis::apiregistration::v1::APIService};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use mutt_operator::{external_metrics::Standing, runtime::args::CertificateSource};
use serde_json::{Value, json};
use tokio::time::Duration;

use super::{
    replica::{API_SERVICE, Installation, SERVICE, alone, bundle_of, quick},
    site::eventually,
};

#[tokio::test]
async fn the_api_is_taken_while_it_is_wanted_and_kept_right() {
    let (client, _turn) = alone().await;
    let first = Installation::new(&client, "taken").await;
    let second = Installation::new(&client, "second").await;
    let replica = first.replica(true, CertificateSource::Own, quick()).await;
    replica.stands(&Standing::Free).await;
    assert!(first.services().get_opt(API_SERVICE).await.unwrap().is_none(), "nobody wants it yet");
    replica.want(true);
    let ours = first.taken().await;
    replica.stands(&Standing::Ours).await;
    let owner = first.owners().get(&first.owner()).await.unwrap();
    assert_eq!(ours.owner_references(), [owner.owner_ref(&()).unwrap()]);
    let spec = ours.spec.as_ref().unwrap();
    assert_eq!(spec.service.as_ref().unwrap().name.as_deref(), Some(SERVICE));
    assert_ne!(spec.insecure_skip_tls_verify, Some(true));
    replica.ask(&bundle_of(&ours)).await.unwrap();
    // Its Service is not there, which the API server says of it.
    eventually(async || match replica.context.metrics.exposition(std::iter::empty()) {
        text if text.contains("mutt_operator_external_metrics_serving 0") => Ok(()),
        text => Err(text),
    })
    .await;
    let other = second.replica(true, CertificateSource::Own, quick()).await;
    other.want(true);
    other.is_taken(&format!("another MUTT operator (the Service taken/{SERVICE})")).await;
    let change = json!({"spec": {"groupPriorityMinimum": 7, "caBundle": null}});
    first.services().patch(API_SERVICE, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    eventually(async || {
        let now = first.services().get(API_SERVICE).await.unwrap().spec;
        if now == ours.spec { Ok(()) } else { Err(format!("it is not put right: {now:?}")) }
    })
    .await;
    // Who waits for it follows.
    replica.want(false);
    second.taken().await;
    other.stands(&Standing::Ours).await;
    replica.is_taken(&format!("another MUTT operator (the Service second/{SERVICE})")).await;
    other.want(false);
    first.free().await;
    replica.stands(&Standing::Free).await;
}

/// An adapter's, whose Service is not there: the API server says that it does not serve.
fn foreign() -> APIService {
    serde_json::from_value(json!({
        "metadata": {"name": API_SERVICE, "labels": {"app.kubernetes.io/part-of": "keda-operator"}},
        "spec": {
            "group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"namespace": "keda", "name": "keda-operator-metrics-apiserver"}, "insecureSkipTLSVerify": true,
        },
    }))
    .unwrap()
}

/// All but what the API server itself writes as the Service comes and goes.
fn written(service: &APIService) -> Value {
    let mut service = serde_json::to_value(service).unwrap();
    service["status"] = Value::Null;
    service["metadata"]["resourceVersion"] = Value::Null;
    let fields = service["metadata"]["managedFields"].as_array_mut().unwrap();
    fields.retain(|entry| entry["subresource"] != "status");
    service
}

#[tokio::test]
async fn what_is_another_s_is_left_alone_and_followed() {
    let (client, _turn) = alone().await;
    let installation = Installation::new(&client, "followed").await;
    let services = installation.services();
    let before = services.create(&PostParams::default(), &foreign()).await.unwrap();
    let replica = installation.replica(true, CertificateSource::Own, quick()).await;
    replica.want(true);
    let keda = "keda-operator (the Service keda/keda-operator-metrics-apiserver), which does not serve it (ServiceNotFound); if that is a left-over, delete the APIService v1beta1.external.metrics.k8s.io";
    replica.stands(&Standing::Taken(keda.to_owned())).await;
    replica.want(false);
    replica.want(true);
    replica.stands(&Standing::Taken(keda.to_owned())).await;
    assert_eq!(written(&services.get(API_SERVICE).await.unwrap()), written(&before));
    services.delete(API_SERVICE, &DeleteParams::default()).await.unwrap();
    installation.taken().await;
    replica.stands(&Standing::Ours).await;
    // Another adapter is installed over it, as `kubectl apply` does: what is ours of it is taken off, or it would go with us.
    let mut over = serde_json::to_value(foreign()).unwrap();
    over["spec"]["caBundle"] = Value::Null;
    services.patch(API_SERVICE, &PatchParams::default(), &Patch::Merge(over)).await.unwrap();
    let left = eventually(async || match services.get(API_SERVICE).await.unwrap() {
        now if now.owner_references().is_empty() => Ok(now),
        now => Err(format!("it is still owned: {now:?}")),
    })
    .await;
    assert_eq!(left.spec, before.spec);
    assert_eq!(left.labels(), before.labels());
    replica.stands(&Standing::Taken(keda.to_owned())).await;
    services.delete(API_SERVICE, &DeleteParams::default()).await.unwrap();
    installation.taken().await;
    replica.want(false);
    installation.free().await;
}

/// As `helm uninstall` does it, with nobody behind the APIService any more: namespaces can be deleted afterwards.
#[tokio::test]
async fn with_the_installation_everything_goes() {
    let (client, _turn) = alone().await;
    let installation = Installation::new(&client, "uninstalled").await;
    let replica = installation.replica(true, CertificateSource::Own, quick()).await;
    replica.want(true);
    installation.taken().await;
    let secret = installation.secrets().get(SERVICE).await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    installation.owners().delete(&installation.owner(), &DeleteParams::background()).await.unwrap();
    installation.free().await;
    let off = replica.is_off().await;
    assert!(off.contains("its owner, the ClusterRole uninstalled-external-metrics, is not there"), "{off}");
    drop(replica);
    let secrets = installation.secrets();
    eventually(async || match secrets.get_opt(SERVICE).await.unwrap() {
        None => Ok(()),
        Some(_) => Err("the Secret is still there".to_owned()),
    })
    .await;
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(installation.namespace, &DeleteParams::default()).await.unwrap();
    eventually(async || match namespaces.get_opt(installation.namespace).await.unwrap() {
        None => Ok(()),
        Some(namespace) => Err(format!("the namespace is still there: {:?}", namespace.status)),
    })
    .await;
}

#[tokio::test]
async fn with_cert_manager_the_bundle_is_injected_by_others() {
    let (client, _turn) = alone().await;
    let installation = Installation::new(&client, "injected").await;
    let replica = installation.replica(true, CertificateSource::CertManager, quick()).await;
    replica.want(true);
    let off = replica.is_off().await;
    assert!(off.contains("is not there; it is made by cert-manager"), "{off}");
    // Another replica's, of another source, makes one as cert-manager would.
    let made = installation.replica(false, CertificateSource::Own, quick()).await;
    made.shows().await;
    let ours = installation.taken().await;
    replica.stands(&Standing::Ours).await;
    assert_eq!(ours.annotations()["cert-manager.io/inject-ca-from"], format!("injected/{SERVICE}"));
    assert_eq!(ours.spec.as_ref().unwrap().ca_bundle, None);
    let bundle = installation.secrets().get(SERVICE).await.unwrap().data.unwrap()["ca.crt"].clone();
    let injected = json!({"spec": {"caBundle": bundle}});
    let injected =
        installation.services().patch(API_SERVICE, &PatchParams::default(), &Patch::Merge(injected)).await.unwrap();
    replica.ask(&bundle_of(&injected)).await.unwrap();
    // It is looked at again, and found right.
    let label = json!({"metadata": {"labels": {"looked": "at"}}});
    installation.services().patch(API_SERVICE, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    replica.want(false);
    installation.free().await;
}

/// As where a firewall keeps the control plane from the pods: a dead APIService would hold up the deletion of every namespace.
#[tokio::test]
async fn an_api_that_the_api_server_does_not_reach_is_given_up() {
    let (client, _turn) = alone().await;
    let mut installation = Installation::new(&client, "unreached").await;
    installation.patience = Duration::ZERO;
    let replica = installation.replica(true, CertificateSource::Own, quick()).await;
    replica.want(true);
    let off = replica.is_off().await;
    assert!(off.contains("the API server does not reach the operator") && off.contains("ServiceNotFound"), "{off}");
    installation.free().await;
}
