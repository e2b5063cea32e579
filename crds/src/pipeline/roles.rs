//! The four roles: how many, how large, where they run, and what each can be told.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use k8s_openapi::api::core::v1::{
    Affinity, CSIVolumeSource, ConfigMapVolumeSource, EmptyDirVolumeSource, EnvVar, PersistentVolumeClaimVolumeSource,
    ResourceRequirements, SecretVolumeSource, Toleration, TopologySpreadConstraint, VolumeMount,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What every role has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleSpec {
    /// Pods; excludes `autoscaling`. Default: 2. Example: `3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000))]
    pub replicas: Option<i32>,
    /// What scales the role; excludes `replicas`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// CPU and memory of one pod. Default: what was measured for the role; see the reference page.
    /// Example: `{requests: {cpu: 500m, memory: 128Mi}, limits: {memory: 256Mi}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Where the pods run and what is added to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOverrides>,
}

/// The rule of every role. It stands at the role, since fields that are flattened into it bring no rule along.
fn replicas_or_autoscaling() -> serde_json::Value {
    serde_json::json!([
        {"rule": "!(has(self.replicas) && has(self.autoscaling))", "message": "replicas and autoscaling exclude each other: set one"},
    ])
}

/// The rules of a role that works off no queue.
fn scaled_by_cpu() -> serde_json::Value {
    let mut rules = replicas_or_autoscaling();
    if let Some(rules) = rules.as_array_mut() {
        rules.push(serde_json::json!({
            "rule": "!has(self.autoscaling) || !(has(self.autoscaling.targetQueueDepth) || has(self.autoscaling.targetQueueAgeSeconds)) && self.autoscaling.mode != 'External'",
            "message": "this role works off no queue: it is scaled by CPU, with the modes Auto, Keda, Resource and None and without targets of a queue",
        }));
    }
    rules
}

/// What scales a role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AutoscalingMode {
    /// Keda where its API is served, else External where that API is free, else Resource; Resource for roles without a queue, None for
    /// forwarders that share a rate limit.
    #[default]
    Auto,
    /// A HorizontalPodAutoscaler that asks the operator for the queue's depth (`external.metrics.k8s.io`).
    External,
    /// A ScaledObject of KEDA, which asks the operator for the queue's depth.
    Keda,
    /// A HorizontalPodAutoscaler on CPU.
    Resource,
    /// Nothing: the number of pods stays as it is and may be changed by others, for example with `kubectl scale`.
    None,
}

/// Scales a role between two numbers of pods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.minReplicas <= self.maxReplicas", "message": "minReplicas must not be greater than maxReplicas"},
]))]
pub struct Autoscaling {
    /// What scales: Auto, External, Keda, Resource or None; the condition AutoscalingReady says what Auto became, and why. Default: Auto.
    #[serde(default)]
    pub mode: AutoscalingMode,
    /// Fewest pods; 0 needs KEDA or Kubernetes 1.37, and a role with a queue. Default: 2.
    #[serde(default = "min_replicas")]
    #[schemars(range(min = 0, max = 1_000))]
    pub min_replicas: i32,
    /// Most pods. Example: `10`.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_replicas: i32,
    /// Elements of the role's queue, waiting or in processing, for each pod. Default: 20,000 for alerters, 1,000 for forwarders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub target_queue_depth: Option<i64>,
    /// Age, in seconds, of the oldest waiting element above which pods are added. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub target_queue_age_seconds: Option<i64>,
    /// CPU use of a pod, in percent of its request, that the autoscaler aims at. Default: 70 where nothing else scales the role, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000))]
    pub target_cpu_percent: Option<i32>,
    /// How fast, as in `autoscaling/v2`. Default: up at once, by 4 pods or double in 15 s; down after 300 s, by 1 pod or a tenth in 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

fn min_replicas() -> i32 {
    2
}

/// What is added to the pods of a role. Kubernetes' own types, documented there; what the operator needs itself (probes, security
/// context, its own labels, volumes and settings) cannot be taken away.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodOverrides {
    /// Labels that a node must have. Default: none. Example: `{disk: ssd}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that are tolerated. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Affinity to nodes and pods. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How pods are spread; replaces the default, which prefers different nodes. Example: by zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// PriorityClass. Default: none. Example: `system-cluster-critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Annotations of the pods. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels of the pods; the operator's own win. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Settings of the workers by their environment names (README, "Settings"), and others; an entry replaces the operator's of the
    /// same name, except for connections, ports and where rules come from. Default: none. Example: `[{name: INGEST_MAX_BODY_BYTES, value: "33554432"}]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub env: Vec<EnvVar>,
    /// Volumes beside the operator's. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub extra_volumes: Vec<ExtraVolume>,
    /// Where they are mounted. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub extra_volume_mounts: Vec<VolumeMount>,
}

/// A volume of one of the kinds that restricted pods may have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.configMap), has(self.secret), has(self.emptyDir), has(self.persistentVolumeClaim), has(self.csi)].filter(kind, kind).size() == 1", "message": "needs exactly one of configMap, secret, emptyDir, persistentVolumeClaim and csi"},
]))]
pub struct ExtraVolume {
    /// Name, unique in the pod; names that begin with `mutt-` are the operator's.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Keys of a ConfigMap as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolumeSource>,
    /// Keys of a Secret as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretVolumeSource>,
    /// An empty directory that lives as long as the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirVolumeSource>,
    /// A claim on a persistent volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
    /// A volume of a CSI driver, for example the secrets store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi: Option<CSIVolumeSource>,
}

/// What an ingestor's 200 promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IngestAck {
    /// Redis has the event in memory, and in its append-only file within a second.
    #[default]
    Memory,
    /// Redis has written it to disk (Redis 7.2).
    Fsync,
}

/// Ingestors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = scaled_by_cpu()))]
pub struct IngestorSpec {
    /// Name of a Secret with the key `INGEST_API_KEY`, and `INGEST_API_KEY_NEXT` during a rotation. Example: `mutt-ingest`.
    #[schemars(length(min = 1, max = 253))]
    pub api_key_secret: String,
    /// Events in the queue from which on 503 is answered. Default: 1,000,000.
    #[serde(default = "max_queue_size")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_queue_size: i64,
    /// What a 200 promises: Memory or Fsync. Default: Memory.
    #[serde(default)]
    pub ack: IngestAck,
    /// What every role has.
    #[serde(flatten)]
    pub role: RoleSpec,
}

fn max_queue_size() -> i64 {
    1_000_000
}

/// Which events get an audit row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuditScope {
    /// Every event.
    #[default]
    All,
    /// Events that a rule takes.
    Handled,
}

/// Alerters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = replicas_or_autoscaling()))]
pub struct AlerterSpec {
    /// Which events get an audit row: All or Handled. Default: All.
    #[serde(default)]
    pub audit_scope: AuditScope,
    /// What every role has.
    #[serde(flatten)]
    pub role: RoleSpec,
}

/// Forwarders. More of them send no faster than the rate limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = replicas_or_autoscaling()))]
pub struct ForwarderSpec {
    /// What every role has.
    #[serde(flatten)]
    pub role: RoleSpec,
}

/// Web UI and its API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = scaled_by_cpu()))]
pub struct WebUiSpec {
    /// Name of a Secret with the key `WEBUI_API_KEY`, and `WEBUI_API_KEY_NEXT` during a rotation. Example: `mutt-webui`.
    #[schemars(length(min = 1, max = 253))]
    pub api_key_secret: String,
    /// Prometheus that holds the SLO series. Default: none. Example: `http://prometheus.monitoring.svc:9090`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2_048), regex(pattern = r"^https?://"))]
    pub prometheus_url: Option<String>,
    /// What every role has.
    #[serde(flatten)]
    pub role: RoleSpec,
}

/// How unhandled messages are told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureMode {
    /// Numbers and addresses do not tell messages apart.
    #[default]
    Masked,
    /// Every different text counts by itself.
    Exact,
}

/// Events that no rule takes are counted by host and kind of message; at the threshold one meta-alert is raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnhandledSpec {
    /// Unhandled events of one kind from one host that raise a meta-alert. Default: 100.
    #[serde(default = "threshold")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub threshold: i64,
    /// Seconds, from the first event, within which they count. Default: 86400.
    #[serde(default = "expiry_seconds")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub expiry_seconds: i64,
    /// Team of meta-alerts of hosts that no entry of `teams` names. Default: `NETO`.
    #[serde(default = "default_team")]
    #[schemars(length(min = 1, max = 100))]
    pub default_team: String,
    /// How messages are told apart: Masked or Exact. Default: Masked.
    #[serde(default)]
    pub signature: SignatureMode,
}

fn threshold() -> i64 {
    100
}

fn expiry_seconds() -> i64 {
    86_400
}

fn default_team() -> String {
    "NETO".to_owned()
}

impl Default for UnhandledSpec {
    fn default() -> Self {
        Self {
            threshold: threshold(),
            expiry_seconds: expiry_seconds(),
            default_team: default_team(),
            signature: SignatureMode::default(),
        }
    }
}
