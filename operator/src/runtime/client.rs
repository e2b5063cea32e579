//! The connection to the API server.

use std::sync::Arc;

use kube::{Client, Config};

use super::{Fatal, metrics::Metrics};

/// A client as the kubeconfig or the pod's service account says; nothing is sent yet.
pub async fn connect(_metrics: Arc<Metrics>) -> Result<Client, Fatal> {
    let config = Config::infer().await.map_err(|error| Fatal::failed("no API server is known", error))?;
    tracing::info!(server = %config.cluster_url, namespace = config.default_namespace, "the API server");
    Client::try_from(config).map_err(|error| Fatal::failed("cannot make a client", error))
}
