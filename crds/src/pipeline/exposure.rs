//! How a pipeline is reached and watched from outside: Ingress or Route, TLS, monitoring, NetworkPolicies.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An Ingress in front of ingestor and Web UI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.ingestHost) || has(self.webUiHost)", "message": "needs ingestHost or webUiHost"},
    {"rule": "!has(self.ingestHost) || !has(self.webUiHost) || self.ingestHost != self.webUiHost", "message": "ingestHost and webUiHost must differ"},
]))]
pub struct IngressSpec {
    /// IngressClass. Default: the cluster's default class. Example: `nginx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Annotations of the Ingress, for its controller. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Host name of the ingest API. Example: `ingest.example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ingest_host: Option<String>,
    /// Host name of the Web UI. Example: `mutt.example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub web_ui_host: Option<String>,
    /// Name of a Secret of type kubernetes.io/tls for both hosts. Default: none, plain HTTP. Example: `mutt-tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret: Option<String>,
}

/// Where a Route ends TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteTermination {
    /// At the router; plain HTTP to the pods, so it excludes `tls`.
    #[default]
    Edge,
    /// At the router, and again to the pods; needs `tls`.
    Reencrypt,
    /// At the pods, which see the clients' certificates; needs `tls`.
    Passthrough,
}

/// OpenShift Routes in front of ingestor and Web UI.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// Host name of the ingest API. Default: the router makes one. Example: `ingest.apps.example.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ingest_host: Option<String>,
    /// Host name of the Web UI. Default: the router makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub web_ui_host: Option<String>,
    /// Where TLS ends: Edge, Reencrypt or Passthrough. Default: Edge.
    #[serde(default)]
    pub termination: RouteTermination,
    /// PEM certificates that the router trusts at the pods, with Reencrypt. Default: the router's own (the service CA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub destination_ca_certificate: Option<String>,
}

/// TLS of the workers' HTTP ports; renewed certificates are read without a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerTls {
    /// Name of a Secret of type kubernetes.io/tls (keys `tls.crt`, `tls.key`). Example: `mutt-server-tls`.
    #[schemars(length(min = 1, max = 253))]
    pub secret: String,
}

/// Objects of the Prometheus operator; without its API the status says so and nothing is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitoringSpec {
    /// A ServiceMonitor over all roles. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_monitor: Option<MonitorSpec>,
    /// A PrometheusRule with the pipeline's alerts. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_rule: Option<MonitorSpec>,
}

/// What Prometheus' own selectors look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitorSpec {
    /// Labels of the object. Default: none. Example: `{release: prometheus}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Seconds between scrapes, or between evaluations of the alerts. Default: Prometheus' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600))]
    pub interval_seconds: Option<i32>,
}

/// NetworkPolicies: a role's pods take connections only on the ports they serve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// Who may send events (ingestor) and open the Web UI. Default: everyone. Example: `[{namespaceSelector: {matchLabels: {zone: edge}}}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub clients: Vec<NetworkPolicyPeer>,
    /// Who may read metrics and health, beside the operator, which asks pods why they are not ready. Default: everyone. Example: `[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub scrapers: Vec<NetworkPolicyPeer>,
}
