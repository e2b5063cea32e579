//! A PodDisruptionBudget per role that has more than one pod: nodes are drained one pod at a time.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::labels::{metadata, pod_selector};
use crate::pipeline::resolve::Resolved;

pub(super) fn disruption_budgets(pipeline: &Resolved) -> Vec<PodDisruptionBudget> {
    pipeline
        .roles()
        .filter(|role| role.scale.most() > 1)
        .map(|role| PodDisruptionBudget {
            metadata: metadata(pipeline, role.component.child_name(&pipeline.name), Some(role.component)),
            spec: Some(PodDisruptionBudgetSpec {
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(pod_selector(&pipeline.name, role.component)),
                // A pod that is not ready anyway does not hold up a drain.
                unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
        })
        .collect()
}
