//! A NetworkPolicy per component: connections come in only on the ports it serves. What goes out is not limited, since where Redis,
//! PostgreSQL and the webhook are is not known by label.

use k8s_openapi::{
    api::networking::v1::{
        NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use mutt_crds::pipeline::NetworkPolicySpec as Wanted;

use super::{
    labels::{metadata, pod_selector},
    pod::not_empty,
    ports::{Port, Ports, has_clients},
};
use crate::pipeline::resolve::{Component, Resolved};

pub(super) fn network_policies(pipeline: &Resolved) -> Vec<NetworkPolicy> {
    let Some(wanted) = &pipeline.network_policy else { return Vec::new() };
    let components = pipeline.roles().map(|role| role.component).chain([Component::Database]);
    components.map(|component| network_policy(pipeline, component, wanted)).collect()
}

fn network_policy(pipeline: &Resolved, component: Component, wanted: &Wanted) -> NetworkPolicy {
    let mut rules = Vec::new();
    if let Some(ports) = Ports::of(component) {
        if has_clients(component) {
            rules.push(rule([ports.service], &wanted.clients));
        }
        rules.push(rule(ports.all(), &wanted.scrapers));
    }
    NetworkPolicy {
        metadata: metadata(pipeline, component.child_name(&pipeline.name), Some(component)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pod_selector(&pipeline.name, component)),
            policy_types: Some(vec!["Ingress".to_owned()]),
            // None at all: nothing comes in.
            ingress: not_empty(rules),
            egress: None,
        }),
    }
}

/// No peers: everyone.
fn rule(ports: impl IntoIterator<Item = Port>, peers: &[NetworkPolicyPeer]) -> NetworkPolicyIngressRule {
    let port = |port: Port| NetworkPolicyPort {
        port: Some(IntOrString::Int(port.number)),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    NetworkPolicyIngressRule { ports: Some(ports.into_iter().map(port).collect()), from: not_empty(peers.to_vec()) }
}
