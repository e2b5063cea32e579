//! Names, labels and the owner reference that every child has. Nothing is copied from the MuttPipeline: tools that prune by
//! label would take children for their own.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use mutt_crds::MuttPipeline;

use crate::pipeline::resolve::{Component, Resolved};

/// Label whose value is the pipeline's name; every child has it, and nothing else of the operator.
pub const PIPELINE: &str = "mutt.dev/pipeline";
const NAME: &str = "app.kubernetes.io/name";
const INSTANCE: &str = "app.kubernetes.io/instance";
pub(super) const COMPONENT: &str = "app.kubernetes.io/component";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const PART_OF: &str = "app.kubernetes.io/part-of";

/// Label selector of the children of all pipelines, for watches.
pub const ALL_CHILDREN: &str = "app.kubernetes.io/managed-by=mutt-operator,mutt.dev/pipeline";

/// Label selector of the children of one pipeline, for the search for orphans. Two pipelines of one name, one after the other,
/// are told apart by the owner's UID.
pub fn children_of(pipeline: &str) -> String {
    format!("{MANAGED_BY}=mutt-operator,{PIPELINE}={pipeline}")
}

/// Labels of a child; one that belongs to the whole pipeline has no component.
pub(super) fn labels(pipeline: &str, component: Option<Component>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from(
        [(NAME, "mutt"), (INSTANCE, pipeline), (MANAGED_BY, "mutt-operator"), (PART_OF, "mutt"), (PIPELINE, pipeline)]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    if let Some(component) = component {
        labels.insert(COMPONENT.to_owned(), component.word().to_owned());
    }
    labels
}

/// What selects a component's pods. Immutable in a Deployment: never change it.
pub(super) fn pod_selector(pipeline: &str, component: Component) -> LabelSelector {
    let labels = [(NAME, "mutt"), (INSTANCE, pipeline), (COMPONENT, component.word())];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    LabelSelector { match_labels: Some(BTreeMap::from(labels)), ..LabelSelector::default() }
}

/// Metadata of a child.
pub(super) fn metadata(pipeline: &Resolved, name: String, component: Option<Component>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(pipeline.namespace.clone()),
        labels: Some(labels(&pipeline.name, component)),
        owner_references: Some(vec![owner(pipeline)]),
        ..ObjectMeta::default()
    }
}

/// The pipeline as the one owner; the garbage collector deletes the children with it.
fn owner(pipeline: &Resolved) -> OwnerReference {
    OwnerReference {
        api_version: MuttPipeline::api_version(&()).into_owned(),
        kind: MuttPipeline::kind(&()).into_owned(),
        name: pipeline.name.clone(),
        uid: pipeline.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
