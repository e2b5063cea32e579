//! Children that are no longer wanted.

use kube::{
    ResourceExt,
    api::{DeleteParams, Preconditions},
    core::DynamicObject,
};

use super::{Applied, Applier};
use crate::pipeline::{
    error::{ChildError, Error},
    kinds::ChildKind,
};

impl Applier<'_> {
    /// Deletes what the pipeline owns and `kept` does not name. What is owned is known by the owner's UID out of the watches, which show
    /// every object with the operator's labels.
    pub(super) async fn remove_orphans(
        &self,
        kept: &impl Fn(ChildKind, &str) -> bool,
        of_kind: impl Fn(ChildKind) -> bool,
        applied: &mut Applied,
    ) {
        for (kind, object) in self.live.owned_by(self.owner.uid) {
            let name = object.name_any();
            if !of_kind(kind) || kept(kind, &name) || object.metadata.deletion_timestamp.is_some() {
                continue;
            }
            applied.writes += 1;
            tracing::info!(%kind, namespace = self.owner.namespace, name, "no longer wanted, deleted");
            if let Err(error) = self.delete(kind, &object).await {
                applied.errors.push(Error::Child { kind, name, error: ChildError::new(kind, error) });
            }
        }
    }

    async fn delete(&self, kind: ChildKind, object: &DynamicObject) -> Result<(), kube::Error> {
        // In the background: the object is gone at once and its pods follow. In the foreground it would stay, ending, in the way of one
        // of the same name that is wanted again meanwhile. For Jobs the API's old default would even leave the pods.
        let same = Preconditions { uid: object.uid(), resource_version: None };
        let params = DeleteParams::background().preconditions(same);
        match self.api(kind).delete(&object.name_any(), &params).await {
            Ok(_) => {}
            // It is gone already, or another object has its name now.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => return Err(error),
        }
        self.memory.forget(self.owner.uid, kind, &object.name_any());
        Ok(())
    }
}
