//! Whose an object is, and whose its fields are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;
use serde_json::Value;

use super::Owner;
use crate::pipeline::build::labels::PIPELINE;

/// Field manager of the children.
pub const MANAGER: &str = "mutt-operator";

/// Whether the pipeline controls the object, or may take it on: one that nobody controls, but that was made by an operator for a
/// pipeline of this name (the owner reference was taken out, or the pipeline deleted with `--cascade=orphan` and made anew).
pub(super) fn is_ours(meta: &ObjectMeta, owner: Owner<'_>) -> bool {
    if let Some(reference) = controlling(meta) {
        return reference.uid == owner.uid;
    }
    let label = meta.labels.as_ref().and_then(|labels| labels.get(PIPELINE));
    label.is_some_and(|pipeline| pipeline == owner.name) && fields_of(meta, MANAGER).is_some()
}

/// `Kind name` of who controls the object.
pub(super) fn owner_in_words(meta: &ObjectMeta) -> Option<String> {
    controlling(meta).map(|reference| format!("{} {}", reference.kind, reference.name))
}

pub(super) fn controlling(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

/// The fields that `manager` has applied and that nobody has taken from it since: exactly those that still have its values.
pub(super) fn fields_of<'a>(meta: &'a ObjectMeta, manager: &str) -> Option<&'a Value> {
    let entry = meta.managed_fields.iter().flatten().find(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    })?;
    entry.fields_v1.as_ref().map(|fields| &fields.0)
}
