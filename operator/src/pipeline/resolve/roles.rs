//! The roles with their defaults.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity};
use mutt_crds::{MuttPipeline, pipeline::RoleSpec};

use super::{
    Component, Fetched, Reason, Resolved, Role, Scale, autoscaling, autoscaling::Surroundings, overrides,
    problem::Problems,
};

/// One pod is down during an update of a node, the other works.
const DEFAULT_REPLICAS: i32 = 2;
/// POSTs that one forwarder has in flight at once (`MOOG_CONCURRENCY`): what it sends per second at a webhook that takes a second.
const POSTS_IN_FLIGHT: u32 = 64;

/// The role with defaults applied.
pub(super) fn role(
    component: Component,
    spec: &RoleSpec,
    pipeline: &MuttPipeline,
    fetched: &Fetched,
    problems: &mut Problems,
) -> Role {
    let field = field(component);
    let resources = spec.resources.clone().unwrap_or_else(|| measured_need(component));
    let (scale, autoscaling) = match (&spec.autoscaling, spec.replicas) {
        (Some(_), Some(_)) => {
            problems.add(
                Reason::InvalidSettings,
                format!("spec.{field}: replicas and autoscaling exclude each other: set one"),
            );
            (Scale::Fixed(DEFAULT_REPLICAS), None)
        }
        (Some(wanted), None) => {
            let around = Surroundings { pipeline, fetched, field, requests_cpu: requests_cpu(&resources) };
            let (scale, choice) = autoscaling::scale(component, wanted, &around, problems);
            (scale, Some(choice))
        }
        (None, replicas) => (Scale::Fixed(replicas.unwrap_or(DEFAULT_REPLICAS)), None),
    };
    let pod = spec.pod.clone().unwrap_or_default();
    overrides::check(field, &pod, problems);
    Role { component, scale, autoscaling, resources, pod }
}

/// Name of the role in the spec.
const fn field(component: Component) -> &'static str {
    match component {
        Component::WebUi => "webUi",
        other => other.word(),
    }
}

/// A limit without a request is also the request.
fn requests_cpu(resources: &ResourceRequirements) -> bool {
    [&resources.requests, &resources.limits].into_iter().flatten().any(|quantities| quantities.contains_key("cpu"))
}

/// CPU and memory that a pod asks for, and the memory at which it is ended. Memory under load as measured in workers/BENCH.md:
/// ingestor 32 MiB, alerter 95 MiB with 1,000 rules and 144 MiB with 10,000, forwarder 26 MiB. Limits leave room for large bodies
/// and rule sets; there is none for CPU, which would only slow down what is idle otherwise.
pub(crate) fn measured_need(component: Component) -> ResourceRequirements {
    let (cpu, memory, most_memory) = match component {
        Component::Ingestor => ("100m", "64Mi", "512Mi"),
        Component::Alerter => ("200m", "160Mi", "512Mi"),
        Component::Forwarder => ("50m", "48Mi", "256Mi"),
        Component::WebUi => ("50m", "64Mi", "256Mi"),
        Component::Database => ("50m", "32Mi", "128Mi"),
    };
    let quantity = |key: &str, value: &str| (key.to_owned(), Quantity(value.to_owned()));
    ResourceRequirements {
        requests: Some(BTreeMap::from([quantity("cpu", cpu), quantity("memory", memory)])),
        limits: Some(BTreeMap::from([quantity("memory", most_memory)])),
        ..ResourceRequirements::default()
    }
}

/// The rate limit is one for all forwarders: beyond some number they only wait for each other.
pub(super) fn warn_of_idle_forwarders(pipeline: &Resolved, problems: &mut Problems) {
    let limit = &pipeline.moogsoft.rate_limit;
    if limit.alerts == 0 {
        return;
    }
    let per_second = limit.alerts.div_ceil(limit.period_seconds.max(1));
    let useful = per_second.div_ceil(POSTS_IN_FLIGHT).max(DEFAULT_REPLICAS.unsigned_abs());
    let most = pipeline.forwarder.scale.most();
    if most.unsigned_abs() > useful {
        problems.warn(
            Reason::MoreForwardersThanUseful,
            format!(
                "spec.forwarder: {most} forwarders share {} alerts per {} s (spec.moogsoft.rateLimit); more than {useful} send no faster",
                limit.alerts, limit.period_seconds
            ),
        );
    }
}
