//! The APIService of `external.metrics.k8s.io`, of which a cluster has one. The leader takes it while a pipeline wants it and
//! nobody else has it, keeps it right, and gives it up when nothing wants it any more. What is another's is not touched.
//!
//! It is created by a POST, which fails if there is one, and changed by patches with the resourceVersion that they were decided
//! on. A server-side apply would be neither: without force it still merges into another's object where no field differs, and
//! it conflicts with the POST's own fields.

mod bar;
mod decision;
mod reach;
#[cfg(test)]
mod tests;

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{
        WatchStreamExt,
        watcher::{self, watch_object},
    },
};
use tokio::time::{Instant, sleep};

use self::{
    bar::Bar,
    decision::{Action, Claimant, NAME, Needs, is_available},
    reach::Reach,
};
use super::{Standing, owner::owner, trust::Trust};
use crate::{
    pipeline::error::in_words,
    runtime::{Context, Shutdown},
};

const MANAGER: &str = "mutt-operator";
/// How long a missing right, or a write that fails again and again, may be a matter of moments: an API server that has just
/// started, a binding that is made anew.
const PASSES_WITHIN: Duration = Duration::from_secs(60);
/// How long a creation that was refused is left alone, at first and at most.
const REFUSED_MIN: Duration = Duration::from_secs(300);
const REFUSED_MAX: Duration = Duration::from_secs(3600);

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it is kept without use. A new leader learns only after some reconciles who wants it, and a pipeline that is made
    /// anew must not cost a change of the cluster's API.
    pub release_after: Duration,
    /// How long the API server may not reach us before it is given up.
    pub unreached_after: Duration,
    /// How often everything is looked at without a reason, and how soon what failed is tried again.
    pub look_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            release_after: Duration::from_secs(300),
            unreached_after: Duration::from_secs(300),
            look_every: Duration::from_secs(15),
        }
    }
}

/// Claims the APIService until the end is asked for. Only for who leads.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), Infallible> {
    Box::pin(run_at(context, shutdown, Pace::default())).await
}

/// The same at another pace.
pub async fn run_at(context: Arc<Context>, shutdown: Shutdown, pace: Pace) -> Result<(), Infallible> {
    match claimant(&context) {
        Ok(claimant) => {
            let claim = Claim::new(&context, claimant, pace);
            shutdown.or(Box::pin(claim.keep())).await;
        }
        Err(why) => {
            context.external_metrics.set_standing(Standing::Off(why));
            shutdown.requested().await;
        }
    }
    Ok(())
}

/// `Err` = there is nothing to claim, and nothing to give up.
fn claimant(context: &Context) -> Result<Claimant, String> {
    let args = &context.args.external_metrics;
    let off = args.service().err();
    let Some(service) = args.service.clone() else {
        return Err(off.unwrap_or_default());
    };
    Ok(Claimant {
        namespace: context.namespace().to_owned(),
        source: args.certificate,
        secret: args.secret.clone().unwrap_or_else(|| service.clone()),
        service,
        off,
    })
}

struct Claim<'a> {
    context: &'a Context,
    claimant: Claimant,
    pace: Pace,
    api: Api<APIService>,
    /// Since when it is of no use.
    useless_since: Option<Instant>,
    reach: Reach,
    refused: Bar,
    /// The API server would take it, as far as it was asked.
    may_create: bool,
    forbidden_since: Option<Instant>,
    failing_since: Option<Instant>,
    said: String,
}

impl<'a> Claim<'a> {
    fn new(context: &'a Context, claimant: Claimant, pace: Pace) -> Self {
        let api = Api::all(context.client.clone());
        Self {
            context,
            claimant,
            pace,
            api,
            useless_since: None,
            reach: Reach::new(pace.unreached_after),
            refused: Bar::new(REFUSED_MIN, REFUSED_MAX),
            may_create: false,
            forbidden_since: None,
            failing_since: None,
            said: String::new(),
        }
    }

    async fn keep(mut self) {
        loop {
            self.follow().await;
            sleep(self.pace.look_every).await;
        }
    }

    /// Acts on all that changes, until the watch is refused: it would go on where it was, and tell nothing if nothing changes, so
    /// another is to be made.
    async fn follow(&mut self) {
        let mut events = pin!(watch_object(self.api.clone(), NAME).default_backoff());
        let (mut wanted, mut trust) = (self.context.external_metrics.wanted(), self.context.external_metrics.trust());
        let mut found: Option<Option<APIService>> = None;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(object)) => {
                        found = Some(object);
                        self.forbidden_since = None;
                    }
                    Some(Err(error)) => if self.unseen(&error) { return },
                    // It does not end.
                    None => return,
                },
                // The senders live as long as the context.
                _ = wanted.changed() => {}
                _ = trust.changed() => {}
                () = sleep(self.pace.look_every) => {}
            }
            if let Some(found) = &found {
                let trust = trust.borrow_and_update().clone();
                let wanted = *wanted.borrow_and_update();
                // What has just been found to be allowed is done at once.
                if self.look(found.as_ref(), &trust, wanted).await && wanted {
                    self.look(found.as_ref(), &trust, wanted).await;
                }
            }
        }
    }

    /// The APIService cannot be watched; whether that is for want of a right.
    fn unseen(&mut self, error: &watcher::Error) -> bool {
        let (watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause)) = error else {
            tracing::debug!(%error, "the watch of the APIService breaks");
            return false;
        };
        let why = format!("the APIService {NAME} cannot be read: {}", in_words(cause));
        self.say(why.clone());
        if !matches!(cause, kube::Error::Api(status) if status.is_forbidden()) {
            return false;
        }
        let since = *self.forbidden_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PASSES_WITHIN {
            self.stands(Standing::Off(why), None);
        }
        true
    }

    /// Whether it was found to be allowed to create it.
    async fn look(&mut self, found: Option<&APIService>, trust: &Trust, wanted: bool) -> bool {
        let ours = found.filter(|found| self.claimant.owns(found));
        let bundle = ours.map(|ours| {
            let bundle = ours.spec.as_ref().and_then(|spec| spec.ca_bundle.as_ref());
            bundle.map_or(&[] as &[u8], |bundle| &bundle.0)
        });
        self.context.external_metrics.announced(bundle);
        let useful = wanted && !matches!(trust, Trust::Unserved(_));
        // Before all pipelines are known, nobody can say that it is not wanted.
        let known = self.context.health.ready().is_ok();
        let since = if useful || !known { None } else { self.useless_since.or_else(|| Some(Instant::now())) };
        self.useless_since = since;
        self.reach.look(ours, self.context.args.external_metrics.port, Instant::now());
        let cluster_role = self.context.args.external_metrics.cluster_role.as_deref().unwrap_or_default();
        let owner = owner(&self.context.client, cluster_role).await;
        if let (Some(_), Err(why)) = (ours, &owner) {
            // It stays as it is, and misses the next CA.
            self.say(format!("the APIService {NAME} is not kept right: it {why}"));
        }
        let now = Instant::now();
        if ours.is_some() {
            self.refused.reset();
        }
        let refused = self.refused.holds(now);
        let needs = Needs {
            trust,
            owner: &owner,
            may_create: self.may_create,
            refused: self.refused.why().filter(|_| refused),
            wanted,
            useless: since.is_some_and(|since| since.elapsed() >= self.pace.release_after),
            barred: self.reach.barred(),
        };
        let (action, standing) = self.claimant.decide(found, &needs);
        let asked = matches!(action, Action::Probe(_));
        let standing = self.carry_out(action, standing, found).await;
        self.stands(standing, ours);
        asked && self.may_create
    }

    /// Does it; what has the API afterwards.
    async fn carry_out(&mut self, action: Action, standing: Standing, found: Option<&APIService>) -> Standing {
        let creates = matches!(action, Action::Probe(_) | Action::Create(_));
        match self.act(&action, found).await {
            Ok(()) => {
                if action != Action::Nothing {
                    self.said.clear();
                }
                self.failing_since = None;
                self.may_create = matches!(action, Action::Probe(_)) || self.may_create && found.is_none();
                standing
            }
            // It is left alone, wanted or not: pipelines that come and go with it would have it tried without end.
            Err(error) if creates && is_final(&error) => {
                self.may_create = false;
                self.refused.set(Instant::now(), &cannot_be_written(&error));
                Standing::Off(self.refused.why().unwrap_or_default().to_owned())
            }
            Err(error) => {
                let why = cannot_be_written(&error);
                self.say(why.clone());
                let since = *self.failing_since.get_or_insert_with(Instant::now);
                // What is ours and works goes on working, even if it cannot be changed.
                if creates && since.elapsed() >= PASSES_WITHIN { Standing::Off(why) } else { standing }
            }
        }
    }

    fn stands(&self, standing: Standing, ours: Option<&APIService>) {
        let serves = standing == Standing::Ours && ours.is_some_and(is_available);
        self.context.metrics.external_metrics_serving.set(i64::from(serves));
        self.context.external_metrics.set_standing(standing);
    }

    async fn act(&self, action: &Action, found: Option<&APIService>) -> Result<(), kube::Error> {
        let done = match action {
            Action::Nothing => return Ok(()),
            Action::Probe(object) => self.create(object, true).await,
            Action::Create(object) => {
                tracing::info!("takes the APIService {NAME}: it is free, and a pipeline wants it");
                self.create(object, false).await
            }
            Action::Patch(patch) => {
                tracing::info!("puts the APIService {NAME} right");
                let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
                self.api.patch(NAME, &parameters, &Patch::Merge(patch)).await.map(drop)
            }
            Action::Delete => {
                tracing::info!(
                    "gives the APIService {NAME} up: no pipeline wants it, or it cannot be served or reached"
                );
                // Another adapter that is installed over it leaves it its UID.
                let (uid, resource_version) =
                    (found.and_then(ResourceExt::uid), found.and_then(ResourceExt::resource_version));
                let same = Preconditions { uid, resource_version };
                self.api.delete(NAME, &DeleteParams::background().preconditions(same)).await.map(drop)
            }
        };
        match done {
            // Somebody else was faster: the watch tells what there is now.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
            done => done,
        }
    }

    async fn create(&self, object: &serde_json::Value, dry_run: bool) -> Result<(), kube::Error> {
        let object = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), dry_run };
        self.api.create(&parameters, &object).await.map(drop)
    }

    /// Once for each trouble.
    fn say(&mut self, why: String) {
        if self.said != why {
            tracing::warn!("{why}; trying again");
            self.said = why;
        }
    }
}

fn cannot_be_written(error: &kube::Error) -> String {
    format!("the APIService {NAME} cannot be written: {}", in_words(error))
}

/// Of a refusal by a right or by a policy: it would be refused again.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
}
