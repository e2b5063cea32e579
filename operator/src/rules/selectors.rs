//! Which rules a pipeline selects, by labels. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

/// Both selectors of a pipeline.
#[derive(Debug, Clone)]
pub(super) struct Selectors {
    rules: Selector,
    namespaces: Option<Selector>,
}

impl Selectors {
    /// From the spec; the error names the field.
    pub(super) fn of(rules: Option<LabelSelector>, namespaces: Option<LabelSelector>) -> Result<Self, String> {
        let read = |field: &str, selector: Option<LabelSelector>| {
            let read = selector.map(Selector::try_from).transpose();
            read.map_err(|error| format!("spec.{field} cannot be read: {error}"))
        };
        Ok(Self {
            rules: read("ruleSelector", rules)?.unwrap_or_default(),
            namespaces: read("ruleNamespaceSelector", namespaces)?,
        })
    }

    /// Whether a rule is selected; `is_own` says that it is in the pipeline's namespace.
    pub(super) fn select(
        &self,
        is_own: bool,
        namespace: &BTreeMap<String, String>,
        rule: &BTreeMap<String, String>,
    ) -> bool {
        let in_namespace = self.namespaces.as_ref().map_or(is_own, |namespaces| namespaces.matches(namespace));
        in_namespace && self.rules.matches(rule)
    }
}
