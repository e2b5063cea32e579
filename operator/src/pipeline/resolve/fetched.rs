//! What the fetch step has to bring.

use std::collections::{BTreeMap, BTreeSet};

use mutt_crds::{
    MuttPipelineSpec,
    pipeline::{AutoscalingMode, RoleSpec},
};

use crate::{external_metrics::Standing, runtime::discovery::Served};

/// What resolve needs to know of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Of every Secret named by [`secrets_of`] that is there: its keys whose value is not empty. Values are not needed.
    pub secrets: BTreeMap<String, BTreeSet<String>>,
    /// Names of the pipeline's own Jobs (label and owner) that have the condition `Complete`.
    pub completed_jobs: BTreeSet<String>,
    /// Which optional APIs the cluster serves.
    pub served: Served,
    /// Who has `external.metrics.k8s.io`.
    pub external_metrics: Standing,
    /// `http://<Service>.<namespace>.svc:8080` of the operator, if it knows its Service: where KEDA asks.
    pub operator_url: Option<String>,
    /// Whether a HorizontalPodAutoscaler may have `minReplicas: 0`, none = that could not be asked; not looked at unless
    /// [`may_scale_to_zero`].
    pub scale_to_zero: Option<bool>,
    /// Image of pipelines without `spec.image` (`--worker-image`).
    pub worker_image: String,
    /// Where MUTT's repository is to be read (`--runbook-base-url`).
    pub runbook_base_url: Option<String>,
    /// Where the operator runs, if it is known: it asks pods that are not ready why.
    pub operator_namespace: Option<String>,
}

/// Names of the Secrets, in the pipeline's namespace, whose keys resolve looks at.
pub fn secrets_of(spec: &MuttPipelineSpec) -> BTreeSet<String> {
    let connections = [
        spec.redis.credentials_secret.as_ref(),
        spec.redis.tls.as_ref().map(|tls| &tls.ca_secret.name),
        Some(&spec.postgres.credentials_secret),
        spec.postgres.tls.ca_secret.as_ref().map(|secret| &secret.name),
        Some(&spec.moogsoft.credentials_secret),
        spec.moogsoft.ca_secret.as_ref().map(|secret| &secret.name),
    ];
    let own = [
        Some(&spec.ingestor.api_key_secret),
        spec.web_ui.as_ref().map(|web_ui| &web_ui.api_key_secret),
        spec.tls.as_ref().map(|tls| &tls.secret),
    ];
    connections.into_iter().chain(own).flatten().cloned().collect()
}

/// Whether a HorizontalPodAutoscaler without pods may be wanted.
pub fn may_scale_to_zero(spec: &MuttPipelineSpec) -> bool {
    let may = |role: &RoleSpec| {
        role.autoscaling.as_ref().is_some_and(|wanted| {
            wanted.min_replicas == 0 && [AutoscalingMode::Auto, AutoscalingMode::External].contains(&wanted.mode)
        })
    };
    may(&spec.alerter.role) || may(&spec.forwarder.role)
}
