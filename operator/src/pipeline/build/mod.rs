//! Step 3: the objects of a pipeline, one file per kind. Pure: what comes out depends on [`Resolved`] alone.

mod children;
mod cron_job;
mod deployment;
mod disruption_budget;
mod files;
pub mod foreign;
mod horizontal_autoscaler;
mod ingress;
mod job;
pub mod labels;
mod network_policy;
mod pod;
mod ports;
mod probes;
pub mod prometheus;
mod route;
mod scaled_object;
mod service;
mod service_account;
mod service_monitor;
mod settings;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

pub(crate) use children::for_each_child_kind;
pub use children::{Applied, Child, Children, Prepared};

use super::resolve::{Component, Resolved, Scale};

/// Components that read or write tables of the audit trail: they wait until the schema is as their image wants it.
const NEED_THE_SCHEMA: [Component; 2] = [Component::Alerter, Component::WebUi];

/// All children of the pipeline.
pub fn build(pipeline: &Resolved) -> Children<Prepared> {
    let job = job::migration(pipeline);
    let migrated = job.metadata.name.as_ref().is_some_and(|name| pipeline.completed_jobs.contains(name));
    let waits = |component: Component| !migrated && NEED_THE_SCHEMA.contains(&component);
    let (held_back, ready): (Vec<_>, Vec<_>) = pipeline.roles().partition(|role| waits(role.component));
    Children {
        service_accounts: vec![service_account::service_account(pipeline)],
        network_policies: network_policy::network_policies(pipeline),
        services: pipeline.roles().map(|role| service::service(pipeline, role.component)).collect(),
        jobs: vec![job],
        deployments: ready.into_iter().map(|role| deployment::deployment(pipeline, role)).collect(),
        horizontal_pod_autoscalers: horizontal_autoscaler::horizontal_autoscalers(pipeline),
        scaled_objects: scaled_object::scaled_objects(pipeline),
        pod_disruption_budgets: disruption_budget::disruption_budgets(pipeline),
        cron_jobs: vec![cron_job::retention(pipeline)],
        ingresses: ingress::ingress(pipeline).into_iter().collect(),
        routes: route::routes(pipeline),
        service_monitors: service_monitor::service_monitor(pipeline).into_iter().collect(),
        prometheus_rules: prometheus::prometheus_rule(pipeline).into_iter().collect(),
        held_back: held_back.into_iter().map(|role| role.component.child_name(&pipeline.name)).collect(),
        left: pipeline
            .roles()
            .filter_map(|role| match &role.scale {
                Scale::Left(left) => Some((role.component.child_name(&pipeline.name), *left)),
                Scale::Fixed(_) | Scale::Scaled(_) => None,
            })
            .collect(),
        state: PhantomData,
    }
}
