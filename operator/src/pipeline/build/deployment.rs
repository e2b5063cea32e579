//! A Deployment per role.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Container, ContainerPort, Lifecycle, LifecycleHandler, PodSpec, SleepAction, TopologySpreadConstraint,
        },
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use mutt_crds::pipeline::PodOverrides;

use super::{
    labels::{metadata, pod_selector},
    pod::Worker,
    ports::{Ports, has_clients},
    probes::Probes,
    settings,
};
use crate::pipeline::resolve::{Component, Resolved, Role, Scale};

/// Enough to go back by hand.
const REVISIONS_KEPT: i32 = 3;
/// `SHUTDOWN_TIMEOUT` of the workers, if it is not set.
const SHUTDOWN_SECONDS: i64 = 25;
/// A pod that ends is still sent connections until every node has heard of it.
const DRAIN_SECONDS: i64 = 5;
/// Between the worker's own end and the kubelet's SIGKILL.
const MARGIN_SECONDS: i64 = 5;

pub(super) fn deployment(pipeline: &Resolved, role: &Role) -> Deployment {
    let component = role.component;
    let worker = Worker {
        component,
        args: vec![component.word().to_owned()],
        files: settings::of_role(pipeline, component),
        resources: role.resources.clone(),
    };
    let template = worker.pod(pipeline, &role.pod, |pod, container| {
        serve(container, component, pipeline.tls.is_some());
        let drain = if has_clients(component) { DRAIN_SECONDS } else { 0 };
        pod.termination_grace_period_seconds = Some(drain + shutdown_seconds(&role.pod) + MARGIN_SECONDS);
        spread(pod, pipeline, role);
    });
    Deployment {
        metadata: metadata(pipeline, component.child_name(&pipeline.name), Some(component)),
        spec: Some(DeploymentSpec {
            replicas: match &role.scale {
                Scale::Fixed(replicas) => Some(*replicas),
                // Not ours to say: it would undo the decisions of whoever does at each reconcile.
                Scale::Scaled(_) | Scale::Left(_) => None,
            },
            selector: pod_selector(&pipeline.name, component),
            strategy: Some(strategy(component)),
            revision_history_limit: Some(REVISIONS_KEPT),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// Ports, probes and the wait before the end.
fn serve(container: &mut Container, component: Component, tls: bool) {
    let Some(ports) = Ports::of(component) else { return };
    let port = |port: super::ports::Port| ContainerPort {
        name: Some(port.name.to_owned()),
        container_port: port.number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    container.ports = Some(ports.all().map(port).collect());
    let Probes { startup, liveness, readiness } = Probes::new(ports, tls);
    container.startup_probe = Some(startup);
    container.liveness_probe = Some(liveness);
    container.readiness_probe = Some(readiness);
    if has_clients(component) {
        // The image has no shell; the kubelet itself waits.
        let sleep =
            LifecycleHandler { sleep: Some(SleepAction { seconds: DRAIN_SECONDS }), ..LifecycleHandler::default() };
        container.lifecycle = Some(Lifecycle { pre_stop: Some(sleep), ..Lifecycle::default() });
    }
}

/// What the owner set, if that can be read here; seconds may have a fraction.
fn shutdown_seconds(overrides: &PodOverrides) -> i64 {
    let set = overrides.env.iter().find(|variable| variable.name == "SHUTDOWN_TIMEOUT");
    let seconds = set.and_then(|variable| variable.value.as_ref()).and_then(|value| value.trim().parse::<f64>().ok());
    seconds
        .filter(|seconds| (0.0..=3_600.0).contains(seconds))
        .map_or(SHUTDOWN_SECONDS, |seconds| seconds.ceil() as i64)
}

/// On different nodes where there are some; one node is better than none.
fn spread(pod: &mut PodSpec, pipeline: &Resolved, role: &Role) {
    let selector = pod_selector(&pipeline.name, role.component);
    let wanted = if role.pod.topology_spread_constraints.is_empty() {
        vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            // Old pods of a rollout do not count: the new ones alone are to be spread.
            match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
            ..TopologySpreadConstraint::default()
        }]
    } else {
        role.pod.topology_spread_constraints.clone()
    };
    // Without a selector a constraint would count no pod at all.
    let with_selector = |constraint: TopologySpreadConstraint| TopologySpreadConstraint {
        label_selector: constraint.label_selector.or_else(|| Some(selector.clone())),
        ..constraint
    };
    pod.topology_spread_constraints = Some(wanted.into_iter().map(with_selector).collect());
}

/// Those with clients keep their number during a rollout; the others only work off queues.
fn strategy(component: Component) -> DeploymentStrategy {
    let (max_unavailable, max_surge) = if has_clients(component) {
        (IntOrString::Int(0), IntOrString::Int(1))
    } else {
        (IntOrString::String("25%".to_owned()), IntOrString::String("25%".to_owned()))
    };
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(max_unavailable),
            max_surge: Some(max_surge),
        }),
    }
}
