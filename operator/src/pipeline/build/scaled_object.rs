//! A ScaledObject of KEDA per role that is scaled by one. KEDA asks the operator for the queue, so that it needs no password of Redis;
//! while it gets no answer, its HorizontalPodAutoscaler holds the number of pods, and zero is only reached by an answer.

use std::collections::BTreeMap;

use super::{
    foreign::{AdvancedConfig, AutoscalerConfig, ScaleTarget, ScaledObject, ScaledObjectConfig, Trigger},
    labels::metadata,
};
use crate::pipeline::resolve::{QueueTarget, Resolved, Scale, Scaled, Scaler};

/// How soon KEDA sees that a role without pods has work, in seconds.
const WAKES_WITHIN: i32 = 10;
/// KEDA's own default of the time that a queue must have been empty before the last pod goes, in seconds.
const IDLE_FOR: i32 = 300;

pub(super) fn scaled_objects(pipeline: &Resolved) -> Vec<ScaledObject> {
    pipeline
        .roles()
        .filter_map(|role| {
            let Scale::Scaled(scaled) = &role.scale else { return None };
            let Scaler::ScaledObject { url } = &scaled.scaler else { return None };
            let name = role.component.child_name(&pipeline.name);
            let mut object = ScaledObject::new(&name, config(&name, scaled, url));
            object.metadata = metadata(pipeline, name, Some(role.component));
            Some(object)
        })
        .collect()
}

fn config(deployment: &str, scaled: &Scaled, url: &str) -> ScaledObjectConfig {
    // Above zero they have no effect, and KEDA's webhook would warn of them at every write.
    let to_zero = scaled.least == 0;
    // The last pod has the patience of the others, also one that KEDA finds: it may still be starting.
    let patience = to_zero.then(|| {
        let down = scaled.behavior.scale_down.as_ref();
        down.and_then(|rules| rules.stabilization_window_seconds).unwrap_or(IDLE_FOR)
    });
    ScaledObjectConfig {
        scale_target_ref: ScaleTarget {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: deployment.to_owned(),
        },
        polling_interval: to_zero.then_some(WAKES_WITHIN),
        cooldown_period: patience,
        initial_cooldown_period: patience,
        min_replica_count: scaled.least,
        max_replica_count: scaled.most,
        advanced: AdvancedConfig {
            horizontal_pod_autoscaler_config: AutoscalerConfig { behavior: scaled.behavior.clone() },
        },
        triggers: scaled
            .queue
            .iter()
            .flat_map(|target| of_queue(url, target))
            .chain(scaled.cpu_percent.map(cpu))
            .collect(),
    }
}

fn of_queue(url: &str, target: &QueueTarget) -> impl Iterator<Item = Trigger> {
    let depth = question(url, &format!("{}.depth", target.queue), target.depth, "AverageValue");
    let age = target.age_seconds.map(|seconds| {
        // An age is not shared out among pods.
        question(url, &format!("{}.oldestAgeSeconds", target.queue), seconds, "Value")
    });
    std::iter::once(depth).chain(age)
}

fn question(url: &str, value_location: &str, target: i64, metric_type: &str) -> Trigger {
    let target = target.to_string();
    trigger("metrics-api", metric_type, &[("url", url), ("valueLocation", value_location), ("targetValue", &target)])
}

fn cpu(percent_of_request: i32) -> Trigger {
    trigger("cpu", "Utilization", &[("value", &percent_of_request.to_string())])
}

fn trigger(type_: &str, metric_type: &str, metadata: &[(&str, &str)]) -> Trigger {
    let metadata: BTreeMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Trigger { type_: type_.to_owned(), metric_type: metric_type.to_owned(), metadata }
}
