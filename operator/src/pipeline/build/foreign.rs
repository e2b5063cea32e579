//! Kinds of other projects, as far as the operator writes them: OpenShift's Route, the Prometheus operator's ServiceMonitor and
//! PrometheusRule, KEDA's ScaledObject. Field names are theirs.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::autoscaling::v2::HorizontalPodAutoscalerBehavior,
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// `route.openshift.io/v1`, Route.
#[derive(Debug, Clone, Default, PartialEq, CustomResource, Serialize, Deserialize)]
#[kube(
    group = "route.openshift.io",
    version = "v1",
    kind = "Route",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct RouteConfig {
    /// Host name; the router makes one where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The Service behind it.
    pub to: RouteTarget,
    /// Which of its ports.
    pub port: RoutePort,
    /// Where TLS ends.
    pub tls: RouteTls,
}

/// The Service behind a Route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTarget {
    /// `Service`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Port of a Route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutePort {
    /// Name of the Service's port.
    pub target_port: IntOrString,
}

impl Default for RoutePort {
    fn default() -> Self {
        Self { target_port: IntOrString::String(String::new()) }
    }
}

/// Where a Route ends TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteTls {
    /// `edge`, `reencrypt` or `passthrough`.
    pub termination: String,
    /// What happens with plain HTTP.
    pub insecure_edge_termination_policy: String,
    /// PEM certificates that the router trusts at the pods.
    #[serde(default, rename = "destinationCACertificate", skip_serializing_if = "Option::is_none")]
    pub destination_ca_certificate: Option<String>,
}

/// `monitoring.coreos.com/v1`, ServiceMonitor.
#[derive(Debug, Clone, Default, PartialEq, CustomResource, Serialize, Deserialize)]
#[kube(
    group = "monitoring.coreos.com",
    version = "v1",
    kind = "ServiceMonitor",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitorConfig {
    /// Services to scrape, by label, in the ServiceMonitor's namespace.
    pub selector: LabelSelector,
    /// Label of the Services that becomes `job`.
    pub job_label: String,
    /// Their ports.
    pub endpoints: Vec<Endpoint>,
}

/// A port that is scraped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its name in the Service.
    pub port: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Time between scrapes, as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How the server is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// Labels set on every series.
    pub relabelings: Vec<Relabeling>,
}

/// How Prometheus verifies a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsConfig {
    /// Whom it trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaSource>,
    /// Name that the certificate must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Any certificate will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}

/// Where the authorities stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaSource {
    /// A Secret's key.
    pub secret: SecretRef,
}

/// A key in a Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRef {
    /// Name of the Secret.
    pub name: String,
    /// Key.
    pub key: String,
}

/// Sets a label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relabeling {
    /// The label.
    pub target_label: String,
    /// Its value.
    pub replacement: String,
}

/// `monitoring.coreos.com/v1`, PrometheusRule.
#[derive(Debug, Clone, Default, PartialEq, CustomResource, Serialize, Deserialize)]
#[kube(
    group = "monitoring.coreos.com",
    version = "v1",
    kind = "PrometheusRule",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
pub struct PrometheusRuleConfig {
    /// Rules, evaluated group by group.
    pub groups: Vec<RuleGroup>,
}

/// A group of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleGroup {
    /// Name, unique in the object.
    pub name: String,
    /// Time between evaluations, as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// An alert of Prometheus, or a rule that records a series: it has one of the two names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name of the series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Name of the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// PromQL; an alert is true where it has a value.
    pub expr: String,
    /// How long it must be true.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub for_: Option<String>,
    /// Labels that are added.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Of an alert: `summary`, `description` and `runbook_url`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// `keda.sh/v1alpha1`, ScaledObject.
#[derive(Debug, Clone, Default, PartialEq, CustomResource, Serialize, Deserialize)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledObject",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectConfig {
    /// What is scaled.
    pub scale_target_ref: ScaleTarget,
    /// Seconds between KEDA's own looks, which are about nothing but zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i32>,
    /// Seconds without work before the last pod goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i32>,
    /// The same for pods that were there before KEDA; its default would end them at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<i32>,
    /// Fewest pods.
    pub min_replica_count: i32,
    /// Most pods.
    pub max_replica_count: i32,
    /// What goes into the HorizontalPodAutoscaler that KEDA makes.
    pub advanced: AdvancedConfig,
    /// What it aims at.
    pub triggers: Vec<Trigger>,
}

/// What a ScaledObject scales.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTarget {
    /// Its API.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The advanced part of a ScaledObject.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdvancedConfig {
    /// For the HorizontalPodAutoscaler that KEDA makes.
    pub horizontal_pod_autoscaler_config: AutoscalerConfig,
}

/// What KEDA's HorizontalPodAutoscaler is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AutoscalerConfig {
    /// How fast.
    pub behavior: HorizontalPodAutoscalerBehavior,
}

/// One thing that a ScaledObject aims at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// The scaler of KEDA.
    #[serde(rename = "type")]
    pub type_: String,
    /// How the value is compared.
    pub metric_type: String,
    /// Settings of the scaler, all of them texts.
    pub metadata: BTreeMap<String, String>,
}
