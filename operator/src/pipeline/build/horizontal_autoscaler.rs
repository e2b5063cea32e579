//! A HorizontalPodAutoscaler per role that is scaled by CPU.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};

use super::labels::metadata;
use crate::pipeline::resolve::{Resolved, Scale};

/// CPU use in percent of the request.
const CPU_PERCENT: i32 = 70;

pub(super) fn horizontal_autoscalers(pipeline: &Resolved) -> Vec<HorizontalPodAutoscaler> {
    pipeline
        .roles()
        .filter_map(|role| {
            let Scale::Auto(autoscaling) = &role.scale else { return None };
            let name = role.component.child_name(&pipeline.name);
            Some(HorizontalPodAutoscaler {
                metadata: metadata(pipeline, name.clone(), Some(role.component)),
                spec: Some(HorizontalPodAutoscalerSpec {
                    scale_target_ref: CrossVersionObjectReference {
                        api_version: Some("apps/v1".to_owned()),
                        kind: "Deployment".to_owned(),
                        name,
                    },
                    min_replicas: Some(autoscaling.min_replicas),
                    max_replicas: autoscaling.max_replicas,
                    metrics: Some(vec![cpu(autoscaling.target_cpu_percent.unwrap_or(CPU_PERCENT))]),
                    behavior: None,
                }),
                ..HorizontalPodAutoscaler::default()
            })
        })
        .collect()
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
