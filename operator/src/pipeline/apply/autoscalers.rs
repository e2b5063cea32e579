//! Never two autoscalers on one Deployment: before one is made, the other is gone, and nobody else's is there.
//!
//! KEDA makes a HorizontalPodAutoscaler `keda-hpa-<name>` of its own, which the ScaledObject owns and which outlives it until the garbage
//! collector has seen to it. It has the ScaledObject's labels, so that the watches show it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
    core::{DynamicObject, ObjectMeta},
};

use super::{
    Applied, Applier,
    ownership::{controlling, is_ours},
    replicas::least,
};
use crate::pipeline::{
    error::{ChildError, Error},
    kinds::{ChildKind, Wanted},
    resolve::{Left, LeftTo},
};

const HPA: ChildKind = ChildKind::HorizontalPodAutoscaler;

/// Name of the HorizontalPodAutoscaler that KEDA makes for a ScaledObject.
fn name_of_kedas(scaled_object: &str) -> String {
    format!("keda-hpa-{scaled_object}")
}

/// The ScaledObject whose HorizontalPodAutoscaler it is.
fn scaled_object_of(meta: &ObjectMeta) -> Option<&str> {
    let keda = |owner: &&OwnerReference| owner.kind == "ScaledObject" && owner.api_version.starts_with("keda.sh/");
    controlling(meta).filter(keda).map(|owner| owner.name.as_str())
}

/// In words, with what holds it: KEDA's finalizer outlives a KEDA that has gone.
pub(super) fn until_gone(kind: ChildKind, name: &str, meta: &ObjectMeta) -> String {
    let held = meta.finalizers.as_deref().unwrap_or_default().join(", ");
    let held = match kind {
        _ if held.is_empty() => String::new(),
        ChildKind::ScaledObject => format!(
            " (held by {held}; if KEDA is uninstalled, `kubectl patch scaledobject {name} --type=merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'` lets it go)"
        ),
        _ => format!(" (held by {held})"),
    };
    format!("until {kind} {name} is gone{held}")
}

/// Whether the object of an autoscaler's kind scales the Deployment; where the kind is left out, both mean a Deployment.
fn aims_at(scaler: &DynamicObject, deployment: &str) -> bool {
    let target = &scaler.data["spec"]["scaleTargetRef"];
    target["name"] == deployment && target["kind"].as_str().is_none_or(|kind| kind == "Deployment")
}

impl Applier<'_> {
    /// What an autoscaler that is to be made waits for; none = the way is free. Asks the API server: the watches may lag.
    pub(super) async fn make_way(&self, child: &Wanted, writes: &mut usize) -> Result<Option<String>, ChildError> {
        let failed = |error| ChildError::new(child.kind, error);
        let deployments = self.api(ChildKind::Deployment);
        let Some(deployment) = deployments.get_opt(&child.name).await.map_err(failed)? else {
            // KEDA would look for it at growing intervals, and its webhook refuses what it cannot find.
            return Ok(Some("for its Deployment".to_owned()));
        };
        let scalers = self.api(HPA).list(&ListParams::default()).await.map_err(failed)?;
        for scaler in scalers.iter().filter(|scaler| aims_at(scaler, &child.name)) {
            let name = scaler.name_any();
            let in_words = || format!("{HPA} {name}");
            match scaled_object_of(&scaler.metadata) {
                // Of the one that is wanted.
                Some(owner) if child.kind == ChildKind::ScaledObject && owner == child.name => {}
                Some(owner) => match self.scaled_object_in_the_way(owner).await? {
                    Some(what) => return Ok(Some(what)),
                    // Nobody but the garbage collector would look after it, and that forgets it where KEDA's API has gone.
                    None if owner == child.name => self.delete_stale(scaler, writes).await.map_err(failed)?,
                    None => return Err(ChildError::OtherAutoscaler(in_words())),
                },
                None if is_ours(&scaler.metadata, self.owner) => {
                    return Ok(Some(until_gone(HPA, &name, &scaler.metadata)));
                }
                None => return Err(ChildError::OtherAutoscaler(in_words())),
            }
        }
        if child.kind == HPA {
            // One that KEDA has not taken up yet has no HorizontalPodAutoscaler.
            if let Some(what) = self.scaled_object_in_the_way(&child.name).await? {
                return Ok(Some(what));
            }
            // It takes zero pods for somebody's wish: those that KEDA has left would stay none for ever.
            if deployment.data["spec"]["replicas"] == 0 {
                let first = least(child).unwrap_or(1);
                self.hold_replicas(&deployments, &child.name, first, writes).await.map_err(failed)?;
            }
        }
        Ok(None)
    }

    /// In words, if it is there and ours; an error if it is somebody else's.
    async fn scaled_object_in_the_way(&self, name: &str) -> Result<Option<String>, ChildError> {
        let kind = ChildKind::ScaledObject;
        let object = match self.api(kind).get(name).await {
            Ok(object) => object,
            // By the code: where KEDA's API is not served, the answer has no reason.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(error) => return Err(ChildError::new(kind, error)),
        };
        if !is_ours(&object.metadata, self.owner) {
            return Err(ChildError::OtherAutoscaler(format!("{kind} {name}")));
        }
        Ok(Some(until_gone(kind, name, &object.metadata)))
    }

    async fn delete_stale(&self, scaler: &DynamicObject, writes: &mut usize) -> Result<(), kube::Error> {
        *writes += 1;
        let same = Preconditions { uid: scaler.uid(), resource_version: None };
        let params = DeleteParams::background().preconditions(same);
        match self.api(HPA).delete(&scaler.name_any(), &params).await {
            Err(kube::Error::Api(status)) if !status.is_not_found() && !status.is_conflict() => {
                Err(kube::Error::Api(status))
            }
            Err(kube::Error::Api(_)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Nobody would see that work has come for a role that was scaled to zero by what can scale it no more, or is going.
    pub(super) async fn wake(&self, wanted: &[Wanted], left: &BTreeMap<String, Left>, applied: &mut Applied) {
        let kind = ChildKind::Deployment;
        let asleep = |applied: &Applied, name: &str| {
            applied.present.get(&(kind, name.to_owned())).is_some_and(|object| object.data["spec"]["replicas"] == 0)
        };
        // Where the pipeline never allowed zero, a zero is a person's.
        let abandoned = left.iter().filter(|(_, left)| left.to == LeftTo::Nobody && left.least == 0);
        let mut ask: BTreeMap<&str, i64> = abandoned.map(|(name, _)| (name.as_str(), 1)).collect();
        let waiting = wanted.iter().filter(|child| applied.waiting.contains_key(&child.name));
        let number = |child: &Wanted| least(child).or_else(|| child.object["spec"]["replicas"].as_i64());
        ask.extend(waiting.filter_map(|child| Some((child.name.as_str(), number(child)?))));
        for (name, replicas) in
            ask.into_iter().filter(|(name, replicas)| *replicas > 0 && asleep(applied, name)).collect::<Vec<_>>()
        {
            let api: Api<DynamicObject> = self.api(kind);
            if let Err(error) = self.hold_replicas(&api, name, replicas, &mut applied.writes).await {
                let error = ChildError::new(kind, error);
                applied.errors.push(Error::Child { kind, name: name.to_owned(), error });
            }
        }
    }

    /// A HorizontalPodAutoscaler that was allowed zero pods and is so no more takes those zero for somebody's wish.
    pub(super) async fn wake_before(
        &self,
        child: &Wanted,
        before: &DynamicObject,
        writes: &mut usize,
    ) -> Result<(), kube::Error> {
        let allowed = |object: &serde_json::Value| object["minReplicas"] == 0;
        if child.kind != HPA || !allowed(&before.data["spec"]) || allowed(&child.object["spec"]) {
            return Ok(());
        }
        let deployments = self.api(ChildKind::Deployment);
        let deployment = deployments.get_opt(&child.name).await?;
        if deployment.is_some_and(|deployment| deployment.data["spec"]["replicas"] == 0) {
            self.hold_replicas(&deployments, &child.name, least(child).unwrap_or(1), writes).await?;
        }
        Ok(())
    }

    /// What still scales a Deployment that is to have a number of its own: it would answer to that number. One of ours that has just been
    /// deleted counts until the watch has shown its end.
    pub(super) fn scaled_still(&self, child: &Wanted, wanted: &[Wanted]) -> Option<String> {
        if child.kind != ChildKind::Deployment || child.object["spec"]["replicas"].is_null() {
            return None;
        }
        let is_wanted = |kind| wanted.iter().any(|other| other.kind == kind && other.name == child.name);
        let kedas = name_of_kedas(&child.name);
        let all = [(ChildKind::ScaledObject, child.name.as_str()), (HPA, child.name.as_str()), (HPA, kedas.as_str())];
        all.into_iter().find_map(|(kind, name)| {
            let object = self.live.get(kind, self.owner.namespace, name)?;
            let scales = if name == kedas {
                scaled_object_of(&object.metadata) == Some(child.name.as_str()) && !is_wanted(ChildKind::ScaledObject)
            } else {
                is_ours(&object.metadata, self.owner) && !is_wanted(kind)
            };
            scales.then(|| until_gone(kind, name, &object.metadata))
        })
    }

    /// Those that say how the wanted ones fare, or that stay as they are.
    pub(super) fn look_at_autoscalers(&self, undecided: &impl Fn(&str) -> bool, applied: &mut Applied) {
        let names: Vec<String> = applied
            .present
            .keys()
            .filter(|(kind, _)| *kind == ChildKind::Deployment)
            .map(|(_, name)| name.clone())
            .collect();
        for name in names {
            let kedas = name_of_kedas(&name);
            if let Some(object) = self.live.get(HPA, self.owner.namespace, &kedas)
                && scaled_object_of(&object.metadata) == Some(name.as_str())
            {
                applied.present.insert((HPA, kedas), object);
            }
            for kind in [HPA, ChildKind::ScaledObject].into_iter().filter(|_| undecided(&name)) {
                if let Some(object) = self.live.get(kind, self.owner.namespace, &name)
                    && is_ours(&object.metadata, self.owner)
                {
                    applied.present.insert((kind, name.clone()), object);
                }
            }
        }
    }
}
