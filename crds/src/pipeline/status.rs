//! What the operator says about a pipeline.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of a pipeline.
///
/// Conditions: `Ready` (every role runs and rules are served), `Progressing` (a rollout or a migration is under way), `Degraded`
/// (something needs a person; the message says what to do), `RulesActive` (all live alerters use the current rules) and
/// `AutoscalingReady` (what scales the roles).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MuttPipelineStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Progressing, Degraded, RulesActive, AutoscalingReady.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The roles, in the order of the data path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentStatus>,
    /// The rules in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<RulesStatus>,
    /// Depths of the queues, refreshed at most every 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<QueueStatus>,
}

/// One role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// `ingestor`, `alerter`, `forwarder` or `webui`.
    pub name: String,
    /// Pods wanted.
    pub desired: i32,
    /// Pods ready.
    pub ready: i32,
    /// Pods with the current settings and image.
    pub updated: i32,
}

/// The rules of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RulesStatus {
    /// Selected rules that compile and pass their tests.
    pub accepted: i32,
    /// Selected rules that do not; an earlier form of them may still be in use.
    pub rejected: i32,
    /// Sequence number of the rule set, one greater at each change.
    pub sequence: i64,
    /// First 12 hex digits of the SHA-256 of the rule set.
    pub revision: String,
    /// Alerters that use this revision, of all live ones. Example: `2/2`.
    pub active: String,
    /// Alerters that do not yet, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub laggards: Vec<String>,
}

/// Depths of the queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// Events that wait for an alerter.
    pub ingest: i64,
    /// Alerts that wait for a forwarder.
    pub alert: i64,
    /// Alerts that wait for a retry.
    pub delayed: i64,
    /// Dead letters of all kinds.
    pub dead_letters: i64,
}
