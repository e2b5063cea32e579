//! The number of pods goes over to an autoscaler, or to whoever says it else, without a dip.
//!
//! A field that our apply leaves out is removed if nobody else owns it, and the API server would set the default: one pod. So the
//! number stays with a second field manager before the first lets go of it. Back, nothing is needed: one apply sets the number that
//! the pipeline says, once no autoscaler can answer to it.

use std::collections::BTreeMap;

use kube::{
    Api,
    api::{Patch, PatchParams},
    core::{DynamicObject, ObjectMeta},
};
use serde_json::{Value, json};

use super::{Applier, MANAGER, ownership::fields_of};
use crate::pipeline::{
    kinds::{ChildKind, Wanted},
    resolve::Left,
};

/// Field manager of the number of pods between our apply and the autoscaler's first decision.
const REPLICAS_MANAGER: &str = "mutt-operator-replicas";

/// With how many pods a Deployment begins: as it says itself, or with the least that its autoscaler or somebody else will say.
pub(super) fn first(child: &Wanted, wanted: &[Wanted], left: &BTreeMap<String, Left>) -> Option<i64> {
    if child.kind != ChildKind::Deployment {
        return None;
    }
    let said = child.object["spec"]["replicas"].as_i64();
    let to_others = || left.get(&child.name).map(|left| i64::from(left.least));
    said.or_else(to_others).or_else(|| wanted.iter().filter(|other| scales(other, child)).find_map(least).or(Some(1)))
}

/// The Deployment without its number of pods.
pub(super) fn without(child: &Wanted) -> Wanted {
    let mut child = child.clone();
    if let Some(spec) = child.object["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    child
}

fn scales(scaler: &Wanted, deployment: &Wanted) -> bool {
    scaler.kind.is_autoscaler() && scaler.object["spec"]["scaleTargetRef"]["name"] == deployment.name
}

/// The least that an autoscaler will say, but one: some take zero pods for somebody's wish not to be scaled.
pub(super) fn least(scaler: &Wanted) -> Option<i64> {
    let field = match scaler.kind {
        ChildKind::HorizontalPodAutoscaler => "minReplicas",
        ChildKind::ScaledObject => "minReplicaCount",
        _ => return None,
    };
    Some(scaler.object["spec"][field].as_i64()?.max(1))
}

impl Applier<'_> {
    /// Applies a Deployment; if it does not say how many pods it has, the number stays what it is, or is `first` for a new one.
    pub(super) async fn apply_scaled(
        &self,
        api: &Api<DynamicObject>,
        child: &Wanted,
        exists: bool,
        first: i64,
        writes: &mut usize,
    ) -> Result<DynamicObject, kube::Error> {
        if !child.object["spec"]["replicas"].is_null() {
            return self.patch(api, child, &child.object, writes).await;
        }
        if exists {
            // What the watch has shown may be older than our own last apply, and than somebody's last word.
            let now = api.get(&child.name).await?;
            if owns_replicas(&now.metadata) {
                let current = now.data["spec"]["replicas"].as_i64().unwrap_or(first);
                self.hold_replicas(api, &child.name, current, writes).await?;
            }
        } else {
            // A new one begins with the least that is wanted, not with one pod until the autoscaler's first look.
            let mut object = child.object.clone();
            object["spec"]["replicas"] = first.into();
            self.patch(api, child, &object, writes).await?;
            self.hold_replicas(api, &child.name, first, writes).await?;
        }
        self.patch(api, child, &child.object, writes).await
    }

    /// Sets the number of pods without owning it as the pipeline's.
    pub(super) async fn hold_replicas(
        &self,
        api: &Api<DynamicObject>,
        deployment: &str,
        replicas: i64,
        writes: &mut usize,
    ) -> Result<DynamicObject, kube::Error> {
        *writes += 1;
        let held: Value = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": deployment},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        api.patch(deployment, &params, &Patch::Apply(&held)).await
    }
}

fn owns_replicas(meta: &ObjectMeta) -> bool {
    fields_of(meta, MANAGER).is_some_and(|fields| !fields["f:spec"]["f:replicas"].is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(kind: ChildKind, object: Value) -> Wanted {
        Wanted { kind, name: "core-alerter".into(), object }
    }

    #[test]
    fn a_new_deployment_begins_as_it_says_or_with_the_least_that_others_will_say() {
        use crate::pipeline::resolve::LeftTo;

        let scaler = |kind, field: &str, least: i32| {
            wanted(kind, json!({"spec": {"scaleTargetRef": {"name": "core-alerter"}, field: least}}))
        };
        let deployment = |replicas: Value| wanted(ChildKind::Deployment, json!({"spec": {"replicas": replicas}}));
        let nobody = BTreeMap::new();
        for (scaler, least) in [
            (scaler(ChildKind::HorizontalPodAutoscaler, "minReplicas", 3), 3),
            (scaler(ChildKind::HorizontalPodAutoscaler, "minReplicas", 0), 1),
            (scaler(ChildKind::ScaledObject, "minReplicaCount", 4), 4),
        ] {
            assert_eq!(first(&deployment(Value::Null), &[scaler], &nobody), Some(least));
        }
        assert_eq!(first(&deployment(json!(0)), &[], &nobody), Some(0));
        assert_eq!(first(&wanted(ChildKind::Job, json!({"spec": {}})), &[], &nobody), None);
        let left = BTreeMap::from([("core-alerter".to_owned(), Left { least: 2, most: 9, to: LeftTo::Others })]);
        assert_eq!(first(&deployment(Value::Null), &[], &left), Some(2));
        assert!(without(&deployment(json!(7))).object["spec"].get("replicas").is_none());
    }
}
