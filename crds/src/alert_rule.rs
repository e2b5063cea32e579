//! AlertRule as a Kubernetes object: the spec is that of `mutt_rules`, so the same YAML works standalone.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use mutt_rules::AlertRuleSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GROUP, VERSION};

/// A rule that says which events become alerts, for whom, and what is done with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRule {
    /// `mutt.dev/v1alpha1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// `AlertRule`.
    #[serde(default = "kind")]
    pub kind: String,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What the rule matches and what follows.
    pub spec: AlertRuleSpec,
    /// What the operator says about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AlertRuleStatus>,
}

fn api_version() -> String {
    format!("{GROUP}/{VERSION}")
}

fn kind() -> String {
    "AlertRule".to_owned()
}

impl AlertRule {
    /// A rule of this name, without namespace, labels and status.
    pub fn new(name: &str, spec: AlertRuleSpec) -> Self {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        Self { api_version: api_version(), kind: kind(), metadata, spec, status: None }
    }
}

impl kube::Resource for AlertRule {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "AlertRule".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "alertrules".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What the operator knows about a rule.
///
/// Conditions: `Accepted` (the rule compiles and its tests pass), `Active` (all live alerters of all pipelines that select it use this
/// form of it; Unknown with reason NoWorkers while there are none) and `Reachable` (False: a rule before it takes everything that it
/// would match).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertRuleStatus {
    /// `metadata.generation` that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Active, Reachable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The pipelines that select the rule, by namespace and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pipelines: Vec<PipelineBinding>,
}

/// One pipeline that selects a rule. Written when the rule's own change becomes active there, not for scaling or other rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PipelineBinding {
    /// `namespace/name` of the MuttPipeline. Example: `netops/core`.
    pub name: String,
    /// First 12 hex digits of the SHA-256 of the form of the rule that is in use there. Example: `3f1c0a9be217`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Alerters that use this form, of all live ones. Example: `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
}
