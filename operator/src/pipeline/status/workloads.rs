//! Roles, schema and autoscalers, as far as a status speaks of them.

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::Time};
use mutt_crds::pipeline::ComponentStatus;

use super::autoscaling::{Autoscaler, autoscalers};
use crate::pipeline::{apply::Present, fetch::is_complete, kinds::ChildKind, resolve::Component};

/// One role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Name of its Deployment.
    pub deployment: String,
    /// Whether that is there.
    pub exists: bool,
    /// As the status shows it.
    pub status: ComponentStatus,
    /// All wanted pods are of the current form and available, and no others are left.
    pub settled: bool,
    /// It waits for the schema.
    pub held_back: bool,
    /// All wanted pods are of the current form, and no others are left: what is missing is that they get ready.
    pub rolled_out: bool,
    /// Since when it has had too few available pods.
    pub unavailable_since: Option<Time>,
    /// Its rollout has taken longer than it may.
    pub overdue: bool,
}

/// What of the children a status looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workloads {
    /// In the order of the data path.
    pub roles: Vec<Role>,
    /// Name of the schema's Job while it has not completed.
    pub migration: Option<String>,
    /// By name.
    pub autoscalers: Vec<Autoscaler>,
}

impl Workloads {
    /// Of the wanted `roles` with their fewest pods.
    pub(super) fn new(roles: &[(Component, i32)], pipeline: &str, held_back: &[String], present: &Present) -> Self {
        let roles = roles.iter().map(|(component, least)| {
            let name = component.child_name(pipeline);
            let deployment = present.get(&(ChildKind::Deployment, name.clone()));
            let deployment = deployment.and_then(|object| (**object).clone().try_parse::<Deployment>().ok());
            role(*component, *least, name, deployment.as_ref(), held_back)
        });
        let jobs = present.iter().filter(|((kind, _), job)| *kind == ChildKind::Job && !is_complete(job));
        Self {
            roles: roles.collect(),
            migration: jobs.map(|((_, name), _)| name.clone()).next(),
            autoscalers: autoscalers(present),
        }
    }
}

fn role(component: Component, least: i32, name: String, deployment: Option<&Deployment>, held_back: &[String]) -> Role {
    let held_back = held_back.contains(&name);
    let (mut ready, mut updated, mut desired, mut settled) = (0, 0, least, false);
    let (mut rolled_out, mut unavailable_since, mut overdue) = (false, None, false);
    if let Some(Deployment { metadata, spec, status }) = deployment {
        desired = spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(least);
        let status = status.clone().unwrap_or_default();
        // What the Deployment's controller has not looked at yet says nothing of the current form.
        let looked_at = status.observed_generation >= metadata.generation;
        ready = status.ready_replicas.unwrap_or(0);
        updated = if looked_at { status.updated_replicas.unwrap_or(0) } else { 0 };
        rolled_out = looked_at && updated >= desired && status.replicas.unwrap_or(0) <= desired;
        settled = rolled_out && status.available_replicas.unwrap_or(0) >= desired;
        let conditions = status.conditions.unwrap_or_default();
        let is_false = |type_| conditions.iter().find(|said| said.type_ == type_ && said.status == "False");
        unavailable_since = is_false("Available").and_then(|said| said.last_transition_time.clone());
        overdue =
            is_false("Progressing").is_some_and(|said| said.reason.as_deref() == Some("ProgressDeadlineExceeded"));
    }
    let status = ComponentStatus { name: component.word().to_owned(), desired, ready, updated };
    let settled = settled && !held_back;
    Role {
        deployment: name,
        exists: deployment.is_some(),
        status,
        settled,
        held_back,
        rolled_out,
        unavailable_since,
        overdue,
    }
}
