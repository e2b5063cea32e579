//! MuttPipeline: one pipeline from ingest to webhook, as its owner wants it.

mod connections;
mod exposure;
mod roles;
mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use connections::{
    CircuitBreaker, MoogsoftSpec, PostgresSpec, PostgresTls, RateLimit, RedisSpec, RedisTls, Retry, SecretKey,
};
pub use exposure::{
    IngressSpec, MonitorSpec, MonitoringSpec, NetworkPolicySpec, RouteSpec, RouteTermination, ServerTls,
};
pub use roles::{
    AlerterSpec, AuditScope, Autoscaling, AutoscalingMode, ExtraVolume, ForwarderSpec, IngestAck, IngestorSpec,
    PodOverrides, RoleSpec, SignatureMode, UnhandledSpec, WebUiSpec,
};
pub use status::{ComponentStatus, MuttPipelineStatus, QueueStatus, RulesStatus};

/// One pipeline: ingestors take events, alerters match them against the selected AlertRules and audit them, forwarders post alerts
/// to Moogsoft. Redis and PostgreSQL exist already.
#[derive(Debug, Clone, Default, PartialEq, CustomResource, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "mutt.dev",
    version = "v1alpha1",
    kind = "MuttPipeline",
    plural = "muttpipelines",
    namespaced,
    status = "MuttPipelineStatus",
    derive = "PartialEq",
    shortname = "mp",
    category = "mutt",
    doc = "A MUTT pipeline: takes syslog, SNMP traps and HTTP events, matches them against AlertRules, audits every event in PostgreSQL and forwards alerts to Moogsoft.",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Rules","type":"integer","jsonPath":".status.rules.accepted","description":"selected rules that compile and pass their tests"}"#,
    printcolumn = r#"{"name":"Queued","type":"integer","jsonPath":".status.queues.ingest","description":"events waiting for an alerter, at most 30 s old"}"#,
    printcolumn = r#"{"name":"DLQ","type":"integer","jsonPath":".status.queues.deadLetters","description":"dead letters, at most 30 s old"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.ingress) && has(self.route))", "message": "ingress and route exclude each other: set one"},
]))]
pub struct MuttPipelineSpec {
    /// Image of all workers, with tag or digest. Default: the operator's own `--worker-image`, of the same version as the operator.
    /// Example: `registry.example.com/mutt/worker:3.0.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// When nodes pull the image: Always, IfNotPresent or Never. Default: Kubernetes' own (Always for `latest`, else IfNotPresent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Always", "IfNotPresent", "Never"]))]
    pub image_pull_policy: Option<String>,
    /// Names of Secrets with registry logins, in the pipeline's namespace. Default: none. Example: `[registry-login]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
    /// The Redis (7.0 or later, or Valkey; maxmemory-policy noeviction) that holds the queues.
    pub redis: RedisSpec,
    /// The PostgreSQL (13 or later) that holds the audit trail.
    pub postgres: PostgresSpec,
    /// The webhook that alerts are posted to.
    pub moogsoft: MoogsoftSpec,
    /// Ingestors: the HTTP API that takes events, port 8080.
    pub ingestor: IngestorSpec,
    /// Alerters: match, audit, hand alerts on.
    #[serde(default)]
    pub alerter: AlerterSpec,
    /// Forwarders: post alerts within the rate limit.
    #[serde(default)]
    pub forwarder: ForwarderSpec,
    /// Web UI and its API, port 8090. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_ui: Option<WebUiSpec>,
    /// Labels of the AlertRules that this pipeline uses. Default: every AlertRule in the selected namespaces.
    /// Example: `{matchLabels: {pipeline: core}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Replaced as a whole, as Kubernetes' own selectors: else server-side apply of `{}` would take the field away.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub rule_selector: Option<LabelSelector>,
    /// Labels of the namespaces whose AlertRules are looked at; `{}` = all that the operator watches. Default: the pipeline's own
    /// namespace only. Example: `{matchLabels: {team: netops}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Replaced as a whole, as Kubernetes' own selectors: else server-side apply of `{}` would take the field away.
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub rule_namespace_selector: Option<LabelSelector>,
    /// Hosts, by exact name, whose events take a rule's development handling; at most 10,000. Default: none. Example: `[lab-1]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000), inner(length(min = 1, max = 255)))]
    pub development_hosts: Vec<String>,
    /// Which team owns which hosts, for meta-alerts about unhandled messages. Default: none.
    /// Example: `[{team: NETO, hosts: [core-1]}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    pub teams: Vec<Team>,
    /// What happens with events that no rule takes.
    #[serde(default)]
    pub unhandled: UnhandledSpec,
    /// An Ingress in front of ingestor and Web UI; excludes `route`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,
    /// OpenShift Routes in front of ingestor and Web UI; excludes `ingress`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteSpec>,
    /// TLS of the workers' own HTTP ports. Default: none, plain HTTP inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Objects for the Prometheus operator. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<MonitoringSpec>,
    /// NetworkPolicies that let in only what the roles need. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicySpec>,
    /// Log level of all workers: ERROR, WARN, INFO, DEBUG or TRACE. Default: INFO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"]))]
    pub log_level: Option<String>,
    /// The operator changes none of the pipeline's objects: they stay as they are, while status and rules go on. Default: false.
    #[serde(default)]
    pub paused: bool,
}

/// A team and its hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Team {
    /// Name of the team, as alerts carry it. Example: `NETO`.
    #[schemars(length(min = 1, max = 100))]
    pub team: String,
    /// Hosts by exact name; at most 10,000. Example: `[core-1]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000), inner(length(min = 1, max = 255)))]
    pub hosts: Vec<String>,
}
