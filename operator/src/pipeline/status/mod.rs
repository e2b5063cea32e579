//! Step 5: what the owner is told. A pure function of what was wanted, applied and seen; written only where it is different.

mod autoscaling;
mod conditions;
mod workloads;
mod write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use mutt_crds::MuttPipelineStatus;
use mutt_crds::pipeline::{QueueStatus, RulesStatus};

pub use autoscaling::Autoscaling;
pub use workloads::Workloads;
pub use write::Written;

use super::{apply::Present, error::Error, resolve::Warning, symptoms::Symptoms};
use crate::rules::RulesState;

/// Most laggards that are named.
const LAGGARDS_MAX: usize = 10;

/// Everything that a status speaks of.
pub struct Findings<'a> {
    /// Generation of the pipeline that was looked at.
    pub generation: Option<i64>,
    /// Whether it is paused.
    pub paused: bool,
    /// What went wrong.
    pub errors: &'a [Error],
    /// What is not wrong, but good to know.
    pub warnings: &'a [Warning],
    /// Roles, schema, autoscalers.
    pub workloads: &'a Workloads,
    /// What scales the roles; none = the pipeline could not be resolved.
    pub autoscaling: Option<&'a Autoscaling>,
    /// Why they do not run.
    pub symptoms: &'a Symptoms,
    /// What the other half of the operator knows.
    pub rules: Option<&'a RulesState>,
    /// What was said last.
    pub before: Option<&'a MuttPipelineStatus>,
    /// For conditions that change.
    pub now: Time,
}

/// The status.
pub fn status(findings: &Findings<'_>) -> MuttPipelineStatus {
    MuttPipelineStatus {
        observed_generation: findings.generation,
        conditions: conditions::conditions(findings),
        components: findings.workloads.roles.iter().map(|role| role.status.clone()).collect(),
        rules: findings.rules.filter(|rules| rules.revision.is_some()).map(rules),
        queues: findings.rules.and_then(|rules| rules.queues).map(|depths| QueueStatus {
            ingest: depths.ingest,
            alert: depths.alert,
            delayed: depths.delayed,
            dead_letters: depths.dead_letters(),
        }),
    }
}

fn rules(state: &RulesState) -> RulesStatus {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    RulesStatus {
        accepted: count(state.accepted),
        rejected: count(state.rejected),
        sequence: i64::try_from(state.sequence).unwrap_or(i64::MAX),
        revision: state.short_revision().to_owned(),
        active: state.alerters(),
        laggards: state.laggards.iter().take(LAGGARDS_MAX).cloned().collect(),
    }
}

/// What of the children a status looks at.
pub fn workloads(
    roles: &[(super::resolve::Component, i32)],
    pipeline: &str,
    held_back: &[String],
    present: &Present,
) -> Workloads {
    Workloads::new(roles, pipeline, held_back, present)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
