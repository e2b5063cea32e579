//! A Service per role: for clients of ingestor and Web UI, for Prometheus everywhere.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{
    labels::{metadata, pod_selector},
    ports::{Ports, has_clients},
};
use crate::pipeline::resolve::{Component, Resolved};

pub(super) fn service(pipeline: &Resolved, component: Component) -> Service {
    let ports = Ports::of(component).map(|ports| {
        vec![ServicePort {
            name: Some(ports.service.name.to_owned()),
            port: ports.service.number,
            target_port: Some(IntOrString::String(ports.service.name.to_owned())),
            protocol: Some("TCP".to_owned()),
            app_protocol: Some(if pipeline.tls.is_some() { "https" } else { "http" }.to_owned()),
            ..ServicePort::default()
        }]
    });
    let headless = !has_clients(component);
    Service {
        metadata: metadata(pipeline, component.child_name(&pipeline.name), Some(component)),
        spec: Some(ServiceSpec {
            selector: pod_selector(&pipeline.name, component).match_labels,
            ports,
            // Nobody calls alerters and forwarders but Prometheus, which asks each pod, ready or not.
            cluster_ip: headless.then(|| "None".to_owned()),
            publish_not_ready_addresses: headless.then_some(true),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
