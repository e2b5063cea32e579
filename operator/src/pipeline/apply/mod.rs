//! Step 4: the children as the API server has them. Server-side apply under one field manager, only where something is not as it
//! should be; what is no longer wanted is deleted. A child that fails does not stop the others.

mod autoscalers;
mod memory;
mod orphans;
mod ownership;
mod replicas;

use std::{collections::BTreeMap, sync::Arc};

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    core::{DynamicObject, ObjectMeta},
};

pub use memory::Memory;
pub use ownership::MANAGER;

use self::memory::Sent;
use super::{
    build::{Children, Prepared},
    error::{ChildError, Error},
    kinds::{ChildKind, InOrder, Wanted, in_order},
    mirror::Live,
    resolve::LeftTo,
};

/// The pipeline whose children are applied.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Its namespace, and that of its children.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
}

/// The children as the API server has them now, by kind and name: those that are wanted or held back, and exist.
pub type Present = BTreeMap<(ChildKind, String), Arc<DynamicObject>>;

/// What came of it.
#[derive(Debug, Default)]
pub struct Applied {
    /// The children now.
    pub present: Present,
    /// How many requests wrote.
    pub writes: usize,
    /// By the Deployment's name: what its new number of pods, or what says it, waits for.
    pub waiting: BTreeMap<String, String>,
    /// What failed.
    pub errors: Vec<Error>,
}

/// What became of one child.
enum Outcome {
    /// It is as it should be.
    Is(Arc<DynamicObject>),
    /// It is being deleted; its end asks for the next reconcile.
    Ends,
    /// Something has to go first, in words.
    Waits(String),
}

/// Applies.
pub struct Applier<'a> {
    client: &'a Client,
    live: &'a Live,
    memory: &'a Memory,
    owner: Owner<'a>,
}

impl<'a> Applier<'a> {
    /// For one pipeline.
    pub fn new(client: &'a Client, live: &'a Live, memory: &'a Memory, owner: Owner<'a>) -> Self {
        Self { client, live, memory, owner }
    }

    /// Only looks: what a paused pipeline has.
    pub fn look(&self) -> Present {
        let owned = self.live.owned_by(self.owner.uid);
        owned.into_iter().map(|(kind, object)| ((kind, object.name_any()), object)).collect()
    }

    /// Makes the cluster have `children` and nothing else of this pipeline's.
    pub async fn apply(&self, children: Children<Prepared>) -> Applied {
        let mut applied = Applied::default();
        let InOrder { wanted, held_back, left } = match in_order(children) {
            Ok(in_order) => in_order,
            Err(error) => {
                applied.errors.push(error.into());
                return applied;
            }
        };
        let undecided = |name: &str| left.get(name).is_some_and(|left| left.to == LeftTo::WhatIsThere);
        let kept = |kind: ChildKind, name: &str| {
            wanted.iter().any(|child| child.kind == kind && child.name == name)
                || kind == ChildKind::Deployment && held_back.iter().any(|held| held == name)
                || kind.is_autoscaler() && undecided(name)
        };
        // An autoscaler that is no longer wanted must not answer to the number of pods that is set next.
        self.remove_orphans(&kept, ChildKind::is_autoscaler, &mut applied).await;
        for child in &wanted {
            let first = replicas::first(child, &wanted, &left);
            let scaled_still = self.scaled_still(child, &wanted);
            let held = scaled_still.as_ref().map(|_| replicas::without(child));
            applied.waiting.extend(scaled_still.map(|what| (child.name.clone(), what)));
            let outcome = self.apply_one(held.as_ref().unwrap_or(child), first, &mut applied.writes).await;
            self.take(child, outcome, &mut applied);
        }
        self.wake(&wanted, &left, &mut applied).await;
        for name in held_back.iter().filter(|name| !name.is_empty()) {
            if let Some(object) = self.live.get(ChildKind::Deployment, self.owner.namespace, name) {
                applied.present.insert((ChildKind::Deployment, name.clone()), object);
            }
        }
        self.look_at_autoscalers(&undecided, &mut applied);
        self.remove_orphans(&kept, |kind| !kind.is_autoscaler(), &mut applied).await;
        applied
    }

    fn take(&self, child: &Wanted, outcome: Result<Outcome, ChildError>, applied: &mut Applied) {
        match outcome {
            Ok(Outcome::Is(object)) => {
                applied.present.insert((child.kind, child.name.clone()), object);
            }
            Ok(Outcome::Ends) => {}
            Ok(Outcome::Waits(what)) => {
                applied.waiting.insert(child.name.clone(), what);
            }
            Err(error) => {
                // What runs in its old form goes on.
                if let Some(object) = self.live_and_ours(child) {
                    applied.present.insert((child.kind, child.name.clone()), object);
                }
                applied.errors.push(Error::Child { kind: child.kind, name: child.name.clone(), error });
            }
        }
    }

    fn live_and_ours(&self, child: &Wanted) -> Option<Arc<DynamicObject>> {
        let live = self.live.get(child.kind, self.owner.namespace, &child.name)?;
        let stays = live.metadata.deletion_timestamp.is_none() && ownership::is_ours(&live.metadata, self.owner);
        stays.then_some(live)
    }

    /// `first`: how many pods a Deployment begins with, if it does not say itself how many it has.
    async fn apply_one(&self, child: &Wanted, first: Option<i64>, writes: &mut usize) -> Result<Outcome, ChildError> {
        let failed = |error| ChildError::new(child.kind, error);
        let api = self.api(child.kind);
        let mut present = self.live.get(child.kind, self.owner.namespace, &child.name);
        if present.is_none() {
            // It is new, or not labelled as ours, or the watch has not caught up: the API server knows.
            present = api.get_opt(&child.name).await.map_err(failed)?.map(Arc::new);
        }
        let exists = present.is_some();
        if let Some(meta) = present.as_ref().map(|object| &object.metadata) {
            self.must_be_ours(meta)?;
            if meta.deletion_timestamp.is_some() {
                let what = child.kind.is_autoscaler().then(|| autoscalers::until_gone(child.kind, &child.name, meta));
                return Ok(what.map_or(Outcome::Ends, Outcome::Waits));
            }
        }
        match present {
            Some(object) if self.memory.says_the_same(self.owner.uid, child, &object.metadata) => {
                return Ok(Outcome::Is(object));
            }
            None if child.kind.is_autoscaler() => {
                if let Some(what) = self.make_way(child, writes).await? {
                    return Ok(Outcome::Waits(what));
                }
            }
            Some(object) => self.wake_before(child, &object, writes).await.map_err(failed)?,
            None => {}
        }
        let answer = match (child.kind, first) {
            (ChildKind::Deployment, Some(first)) => self.apply_scaled(&api, child, exists, first, writes).await,
            _ => self.patch(&api, child, &child.object, writes).await,
        };
        let answer = answer.map_err(failed)?;
        self.memory.remember(self.owner.uid, child, Sent::new(child, &answer.metadata));
        Ok(Outcome::Is(Arc::new(answer)))
    }

    async fn patch(
        &self,
        api: &Api<DynamicObject>,
        child: &Wanted,
        object: &serde_json::Value,
        writes: &mut usize,
    ) -> Result<DynamicObject, kube::Error> {
        *writes += 1;
        // Force: what the pipeline says of its children is settled here, whoever wrote last. Another project's definition may lack a
        // field that is only known to its newer versions; in Kubernetes' own an unknown field is our mistake.
        let params = PatchParams::apply(MANAGER).force();
        let params = if child.kind.is_optional() { params.validation_warn() } else { params.validation_strict() };
        api.patch(&child.name, &params, &Patch::Apply(object)).await
    }

    /// An object of the same name that is not the pipeline's is never touched.
    fn must_be_ours(&self, meta: &ObjectMeta) -> Result<(), ChildError> {
        if ownership::is_ours(meta, self.owner) {
            return Ok(());
        }
        Err(ChildError::NameTaken { owner: ownership::owner_in_words(meta) })
    }

    fn api(&self, kind: ChildKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), self.owner.namespace, &kind.resource())
    }
}
