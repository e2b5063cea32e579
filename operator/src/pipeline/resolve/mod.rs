//! Step 2: validation and defaults. What the owner wants and what the cluster has become one struct, or a list of everything
//! that is wrong. Pure: no client, no clock.

mod autoscaling;
mod connections;
mod exposure;
mod fetched;
mod overrides;
mod problem;
mod resolved;
mod roles;
mod scale;
mod secrets;
#[cfg(test)]
mod tests;

use kube::ResourceExt;
use mutt_crds::{MuttPipeline, pipeline::RoleSpec};
use mutt_secrets::SecretName;

pub use fetched::{Fetched, may_scale_to_zero, secrets_of};
pub use problem::{Problem, Reason, ResolveError, Warning};
pub use resolved::{Alerter, Component, Exposure, Image, Ingestor, Resolved, Role, Tls, WebUi};
pub use scale::{Choice, Left, LeftTo, QueueTarget, Scale, Scaled, Scaler};

pub(crate) use roles::measured_need;

use problem::Problems;

/// The pipeline with every default applied, or everything that is wrong with it.
pub fn resolve(pipeline: &MuttPipeline, fetched: &Fetched) -> Result<Resolved, ResolveError> {
    let spec = &pipeline.spec;
    let mut problems = Problems::default();
    let found = &mut problems;
    secrets::check(pipeline, fetched, found);
    connections::check(spec, found);
    let (ingestor, alerter, forwarder) = (&spec.ingestor, &spec.alerter, &spec.forwarder);
    let role =
        |component, spec: &RoleSpec, found: &mut Problems| roles::role(component, spec, pipeline, fetched, found);
    let resolved = Resolved {
        name: pipeline.name_any(),
        namespace: pipeline.namespace().unwrap_or_default(),
        uid: pipeline.uid().unwrap_or_default(),
        image: Image {
            name: spec.image.clone().unwrap_or_else(|| fetched.worker_image.clone()),
            pull_policy: spec.image_pull_policy.clone(),
            pull_secrets: spec.image_pull_secrets.clone(),
        },
        redis: spec.redis.clone(),
        postgres: spec.postgres.clone(),
        database_user_in_secret: secrets::holds(fetched, &spec.postgres.credentials_secret, SecretName::DbUser),
        moogsoft: spec.moogsoft.clone(),
        ingestor: Ingestor {
            role: role(Component::Ingestor, &ingestor.role, found),
            api_key_secret: ingestor.api_key_secret.clone(),
            max_queue_size: ingestor.max_queue_size,
            ack: ingestor.ack,
        },
        alerter: Alerter {
            role: role(Component::Alerter, &alerter.role, found),
            audit_scope: alerter.audit_scope,
            unhandled: spec.unhandled.clone(),
        },
        forwarder: role(Component::Forwarder, &forwarder.role, found),
        web_ui: spec.web_ui.as_ref().map(|web_ui| WebUi {
            role: role(Component::WebUi, &web_ui.role, found),
            api_key_secret: web_ui.api_key_secret.clone(),
            prometheus_url: web_ui.prometheus_url.clone(),
        }),
        exposure: exposure::exposure(spec, fetched.served, found),
        tls: spec.tls.as_ref().map(|tls| Tls {
            secret: tls.secret.clone(),
            has_ca: fetched.secrets.get(&tls.secret).is_some_and(|keys| keys.contains("ca.crt")),
        }),
        service_monitor: exposure::service_monitor(spec, fetched.served, found),
        prometheus_rule: exposure::prometheus_rule(spec, fetched.served, found),
        runbook_base_url: fetched.runbook_base_url.clone(),
        network_policy: exposure::network_policy(spec, fetched.operator_namespace.as_deref()),
        log_level: spec.log_level.clone(),
        paused: spec.paused,
        completed_jobs: fetched.completed_jobs.clone(),
        warnings: Vec::new(),
    };
    roles::warn_of_idle_forwarders(&resolved, found);
    problems.into_result(resolved)
}
