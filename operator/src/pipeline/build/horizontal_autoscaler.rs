//! A HorizontalPodAutoscaler per role that is scaled by one: on the role's queue, on CPU, or on both.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::autoscaling::v2::{
        CrossVersionObjectReference, ExternalMetricSource, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec,
        MetricIdentifier, MetricSpec, MetricTarget, ResourceMetricSource,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector},
};

use super::labels::metadata;
use crate::pipeline::resolve::{QueueTarget, Resolved, Scale, Scaled, Scaler};

/// Elements of a queue, waiting or in processing.
const DEPTH: &str = "mutt_queue_depth";
/// Seconds since the oldest waiting element came.
const AGE: &str = "mutt_queue_oldest_age_seconds";

pub(super) fn horizontal_autoscalers(pipeline: &Resolved) -> Vec<HorizontalPodAutoscaler> {
    pipeline
        .roles()
        .filter_map(|role| {
            let Scale::Scaled(scaled) = &role.scale else { return None };
            if scaled.scaler != Scaler::HorizontalPodAutoscaler {
                return None;
            }
            let name = role.component.child_name(&pipeline.name);
            Some(HorizontalPodAutoscaler {
                metadata: metadata(pipeline, name.clone(), Some(role.component)),
                spec: Some(HorizontalPodAutoscalerSpec {
                    scale_target_ref: CrossVersionObjectReference {
                        api_version: Some("apps/v1".to_owned()),
                        kind: "Deployment".to_owned(),
                        name,
                    },
                    min_replicas: Some(scaled.least),
                    max_replicas: scaled.most,
                    metrics: Some(metrics(&pipeline.name, scaled)),
                    behavior: Some(scaled.behavior.clone()),
                }),
                ..HorizontalPodAutoscaler::default()
            })
        })
        .collect()
}

/// The one that wants most pods counts.
fn metrics(pipeline: &str, scaled: &Scaled) -> Vec<MetricSpec> {
    let queue = scaled.queue.iter().flat_map(|target| of_queue(pipeline, target));
    queue.chain(scaled.cpu_percent.map(cpu)).collect()
}

fn of_queue(pipeline: &str, target: &QueueTarget) -> impl Iterator<Item = MetricSpec> {
    let depth = MetricTarget {
        type_: "AverageValue".to_owned(),
        average_value: Some(Quantity(target.depth.to_string())),
        ..MetricTarget::default()
    };
    let depth = external(DEPTH, &[("pipeline", pipeline), ("queue", target.queue)], depth);
    let age = target.age_seconds.map(|seconds| {
        // An age is not shared out among pods.
        let age = MetricTarget {
            type_: "Value".to_owned(),
            value: Some(Quantity(seconds.to_string())),
            ..MetricTarget::default()
        };
        external(AGE, &[("pipeline", pipeline), ("queue", target.queue), ("state", "waiting")], age)
    });
    std::iter::once(depth).chain(age)
}

fn external(name: &str, labels: &[(&str, &str)], target: MetricTarget) -> MetricSpec {
    let labels: BTreeMap<_, _> = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    MetricSpec {
        type_: "External".to_owned(),
        external: Some(ExternalMetricSource {
            metric: MetricIdentifier {
                name: name.to_owned(),
                selector: Some(LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }),
            },
            target,
        }),
        ..MetricSpec::default()
    }
}

fn cpu(percent_of_request: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: "cpu".to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent_of_request),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}
