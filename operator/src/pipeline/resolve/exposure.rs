//! Ways in from outside, and what Prometheus gets, as far as the cluster serves it.

use std::collections::BTreeMap;

use k8s_openapi::{api::networking::v1::NetworkPolicyPeer, apimachinery::pkg::apis::meta::v1::LabelSelector};
use mutt_crds::{
    MuttPipelineSpec,
    pipeline::{MonitorSpec, NetworkPolicySpec, RouteSpec, RouteTermination},
};

use super::{Exposure, Reason, problem::Problems};
use crate::runtime::discovery::Served;

/// Who may scrape may ask for the health, and so may the operator, which tells why a pod is not ready.
pub(super) fn network_policy(spec: &MuttPipelineSpec, operator_namespace: Option<&str>) -> Option<NetworkPolicySpec> {
    let mut policy = spec.network_policy.clone()?;
    // No scrapers: everybody may.
    if let Some(namespace) = operator_namespace.filter(|_| !policy.scrapers.is_empty()) {
        let name = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())]);
        let selector = LabelSelector { match_labels: Some(name), match_expressions: None };
        policy.scrapers.push(NetworkPolicyPeer { namespace_selector: Some(selector), ..NetworkPolicyPeer::default() });
    }
    Some(policy)
}

/// Ingress, Routes or neither.
pub(super) fn exposure(spec: &MuttPipelineSpec, served: Served, problems: &mut Problems) -> Exposure {
    match (&spec.ingress, &spec.route) {
        (Some(_), Some(_)) => {
            problems.add(Reason::InvalidSettings, "spec.ingress and spec.route exclude each other: set one");
            Exposure::Internal
        }
        (Some(ingress), None) => {
            warn_without_web_ui(spec, "ingress", ingress.web_ui_host.as_ref(), problems);
            Exposure::Ingress(ingress.clone())
        }
        (None, Some(route)) => {
            check_route(spec, route, served, problems);
            Exposure::Route(route.clone())
        }
        (None, None) => Exposure::Internal,
    }
}

fn check_route(spec: &MuttPipelineSpec, route: &RouteSpec, served: Served, problems: &mut Problems) {
    if !served.route {
        problems.add(
            Reason::RouteNotServed,
            "spec.route needs OpenShift: this cluster does not serve route.openshift.io/v1; use spec.ingress",
        );
    }
    match (route.termination, &spec.tls) {
        (RouteTermination::Edge, Some(_)) => problems.add(
            Reason::InvalidTermination,
            "spec.route.termination Edge speaks plain HTTP to pods, which serve TLS as spec.tls says; use Reencrypt or Passthrough, or remove spec.tls",
        ),
        (RouteTermination::Reencrypt | RouteTermination::Passthrough, None) => problems.add(
            Reason::InvalidTermination,
            format!("spec.route.termination {:?} needs pods that serve TLS: set spec.tls, or use Edge", route.termination),
        ),
        _ => {}
    }
    if route.destination_ca_certificate.is_some() && route.termination != RouteTermination::Reencrypt {
        problems.warn(
            Reason::WithoutEffect,
            "spec.route.destinationCaCertificate has an effect only with termination Reencrypt",
        );
    }
    if route.ingest_host.is_some() && route.ingest_host == route.web_ui_host {
        problems.add(Reason::InvalidSettings, "spec.route: ingestHost and webUiHost must differ");
    }
    warn_without_web_ui(spec, "route", route.web_ui_host.as_ref(), problems);
}

fn warn_without_web_ui(spec: &MuttPipelineSpec, field: &str, host: Option<&String>, problems: &mut Problems) {
    if host.is_some() && spec.web_ui.is_none() {
        problems.warn(Reason::WithoutEffect, format!("spec.{field}.webUiHost has no effect without spec.webUi"));
    }
}

/// The ServiceMonitor that is wanted, where there can be one.
pub(super) fn service_monitor(spec: &MuttPipelineSpec, served: Served, problems: &mut Problems) -> Option<MonitorSpec> {
    let wanted = spec.monitoring.as_ref()?.service_monitor.clone()?;
    if !served.service_monitor {
        problems.warn(Reason::ServiceMonitorNotServed, not_served("serviceMonitor", "ServiceMonitor"));
        return None;
    }
    Some(wanted)
}

/// The PrometheusRule that is wanted, where there can be one.
pub(super) fn prometheus_rule(spec: &MuttPipelineSpec, served: Served, problems: &mut Problems) -> Option<MonitorSpec> {
    let wanted = spec.monitoring.as_ref()?.prometheus_rule.clone()?;
    if !served.prometheus_rule {
        problems.warn(Reason::PrometheusRuleNotServed, not_served("prometheusRule", "PrometheusRule"));
        return None;
    }
    Some(wanted)
}

fn not_served(field: &str, kind: &str) -> String {
    format!(
        "spec.monitoring.{field} is waiting for the Prometheus operator: this cluster does not serve {kind} of monitoring.coreos.com/v1"
    )
}
