//! The number of pods goes over to an autoscaler without a dip.
//!
//! A field that our apply leaves out is removed if nobody else owns it, and the API server would set the default: one pod. So the
//! number stays with a second field manager before the first lets go of it. Back, nothing is needed: one apply sets the number that
//! the pipeline says.

use kube::{
    Api,
    api::{Patch, PatchParams},
    core::{DynamicObject, ObjectMeta},
};
use serde_json::{Value, json};

use super::{Applier, MANAGER, ownership::fields_of};
use crate::pipeline::kinds::{ChildKind, Wanted};

/// Field manager of the number of pods between our apply and the autoscaler's first decision.
const REPLICAS_MANAGER: &str = "mutt-operator-replicas";

/// If the Deployment's number of pods is an autoscaler's to say: the least that it will say.
pub(super) fn least(child: &Wanted, wanted: &[Wanted]) -> Option<i64> {
    if child.kind != ChildKind::Deployment || !child.object["spec"]["replicas"].is_null() {
        return None;
    }
    let scaler = wanted.iter().find(|other| {
        other.kind == ChildKind::HorizontalPodAutoscaler
            && other.object["spec"]["scaleTargetRef"]["name"].as_str() == Some(&child.name)
    });
    Some(scaler.and_then(|scaler| scaler.object["spec"]["minReplicas"].as_i64()).unwrap_or(1))
}

impl Applier<'_> {
    /// Applies a Deployment whose number of pods is left to an autoscaler.
    pub(super) async fn apply_scaled(
        &self,
        api: &Api<DynamicObject>,
        child: &Wanted,
        seen: Option<&ObjectMeta>,
        least: i64,
        writes: &mut usize,
    ) -> Result<DynamicObject, kube::Error> {
        if seen.is_none() {
            // A new one begins with the least that is wanted, not with one pod until the autoscaler's first look.
            let mut object = child.object.clone();
            object["spec"]["replicas"] = least.into();
            self.patch(api, child, &object, writes).await?;
            self.hold_replicas(api, child, least, writes).await?;
        } else if seen.is_some_and(owns_replicas) {
            // What the watch has shown may be older than somebody's last word.
            let current = api.get(&child.name).await?.data["spec"]["replicas"].as_i64().unwrap_or(least);
            self.hold_replicas(api, child, current, writes).await?;
        }
        self.patch(api, child, &child.object, writes).await
    }

    async fn hold_replicas(
        &self,
        api: &Api<DynamicObject>,
        child: &Wanted,
        replicas: i64,
        writes: &mut usize,
    ) -> Result<(), kube::Error> {
        *writes += 1;
        let held: Value = json!({
            "apiVersion": child.object["apiVersion"],
            "kind": child.object["kind"],
            "metadata": {"name": child.name},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(REPLICAS_MANAGER).force();
        api.patch(&child.name, &params, &Patch::Apply(&held)).await.map(drop)
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
    fn a_number_that_is_left_out_is_the_autoscalers() {
        let scaler = json!({"spec": {"scaleTargetRef": {"name": "core-alerter"}, "minReplicas": 3}});
        let all = [wanted(ChildKind::HorizontalPodAutoscaler, scaler)];
        assert_eq!(least(&wanted(ChildKind::Deployment, json!({"spec": {}})), &all), Some(3));
        assert_eq!(least(&wanted(ChildKind::Deployment, json!({"spec": {"replicas": 0}})), &all), None);
        assert_eq!(least(&wanted(ChildKind::Job, json!({"spec": {}})), &all), None);
    }
}
