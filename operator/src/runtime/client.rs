//! The connection to the API server.

use std::sync::Arc;

use kube::{Client, Config, client::ClientBuilder};
use tower::util::MapRequestLayer;

use super::{Fatal, metrics::Metrics};

/// A client as the kubeconfig or the pod's service account says; nothing is sent yet. Requests that write are counted
/// here, where none can be forgotten.
pub async fn connect(metrics: Arc<Metrics>) -> Result<Client, Fatal> {
    let config = Config::infer().await.map_err(|error| Fatal::failed("no API server is known", error))?;
    tracing::info!(server = %config.cluster_url, namespace = config.default_namespace, "the API server");
    let builder = ClientBuilder::try_from(config).map_err(|error| Fatal::failed("cannot make a client", error))?;
    let counted = MapRequestLayer::new(move |request| {
        metrics.sent(&request);
        request
    });
    Ok(builder.with_layer(&counted).build())
}
