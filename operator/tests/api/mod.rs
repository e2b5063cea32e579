//! What all that drives the operator from outside needs of an API server: a client's configuration, and our definitions installed.
//! Tests and bench include it by its path.

use std::{path::Path, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use tokio::time::timeout;

/// Bound of the time until a definition is served.
const ESTABLISHED_MAX: Duration = Duration::from_secs(60);

/// What a kubeconfig says; `server` replaces the one in it.
pub(crate) async fn config(kubeconfig: &Path, server: Option<String>) -> Config {
    // A second installation is a no-op.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    if server.is_some() {
        kubeconfig.clusters[0].cluster.as_mut().unwrap().server = server;
    }
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

/// Installs both definitions of the project, and waits until they are served.
pub(crate) async fn install(client: &Client) {
    for definition in mutt_crds::definition::typed().unwrap() {
        install_one(client, &definition).await;
    }
}

/// Installs a definition, and waits until it is served.
pub(crate) async fn install_one(client: &Client, definition: &CustomResourceDefinition) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = definition.name_any();
    api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(definition)).await.unwrap();
    timeout(ESTABLISHED_MAX, await_condition(api, &name, is_crd_established())).await.unwrap().unwrap();
}
