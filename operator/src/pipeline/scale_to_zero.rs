//! Whether a HorizontalPodAutoscaler of this cluster may go down to no pod at all: from Kubernetes 1.37 on, before with a feature gate.
//! Neither discovery nor the version says so; the API server does, asked to make one that it then does not keep.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{Api, Client, api::PostParams};
use serde_json::json;

/// An API server is not updated every day.
const KNOWN_FOR: Duration = Duration::from_secs(3_600);

/// What the API server said last.
#[derive(Default)]
pub struct ScaleToZero(Mutex<Option<(bool, Instant)>>);

impl ScaleToZero {
    /// Whether it may; none = that could not be asked.
    pub(super) async fn is_served(&self, client: &Client, namespace: &str) -> Option<bool> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((served, at)) = known
            && at.elapsed() < KNOWN_FOR
        {
            return Some(served);
        }
        let served = match ask(client, namespace).await {
            Ok(served) => served,
            Err(error) => {
                tracing::debug!(%error, "cannot ask whether HorizontalPodAutoscalers may have minReplicas 0");
                return known.map(|(served, _)| served);
            }
        };
        self.learn(served);
        Some(served)
    }

    fn learn(&self, served: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((served, Instant::now()));
    }
}

async fn ask(client: &Client, namespace: &str) -> Result<bool, kube::Error> {
    let object: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "metadata": {"name": "mutt-may-scale-to-zero"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mutt-may-scale-to-zero"},
            "minReplicas": 0, "maxReplicas": 1,
            // Without a metric that is no pod's own, zero is refused everywhere.
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "mutt_queue_depth"}, "target": {"type": "AverageValue", "averageValue": "1"},
            }}],
        },
    }))
    .map_err(kube::Error::SerdeError)?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    match api.create(&params, &object).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_invalid() => Ok(false),
        Err(error) => Err(error),
    }
}
