//! Reconcile of a MuttPipeline: fetch → resolve → build → apply → status, one file each. Three steps talk to the API server (fetch,
//! apply, status), two are pure.

pub mod apply;
mod ask;
pub mod build;
pub mod error;
pub mod fetch;
pub mod kinds;
pub mod mirror;
mod report;
pub mod resolve;
mod retry;
pub mod scale_to_zero;
pub mod secrets;
pub mod status;
pub mod symptoms;
mod unread;
pub mod watch;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    ResourceExt,
    core::{DynamicObject, ObjectMeta},
    runtime::{
        controller::{Action, Config, applier},
        reflector::{ObjectRef, Store},
    },
};
use mutt_crds::MuttPipeline;
use tokio::{sync::watch as watch_channel, task::JoinSet};

use self::{
    apply::{Applied, Applier, Memory, Owner},
    error::{Error, Failure},
    fetch::Surroundings,
    mirror::Live,
    resolve::{Component, Resolved, Scale, Scaler},
    retry::Retries,
    scale_to_zero::ScaleToZero,
    secrets::Secrets,
    status::{Autoscaling, Findings, Written, workloads},
    symptoms::symptoms,
    watch::{Queue, Stored, Watches},
};
use crate::{
    rules::PipelineKey,
    runtime::{Context, Shutdown},
};

/// Name of this controller in metrics, and of what readiness waits for.
const CONTROLLER: &str = "pipeline";
const CACHE: &str = "pipelines";
/// A look at everything without a reason: what no watch has shown (it should not happen) is repaired at last.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// While something does not run, its pods are looked at again: they are not watched.
const LOOK_AT_AILING_EVERY: Duration = Duration::from_secs(10);

/// Why the pipelines are no longer looked after.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// A task of this controller ended.
    #[error("a task of the pipelines' controller ended: {0}")]
    Task(String),
    /// The queue ended.
    #[error("the pipelines' queue ended")]
    Queue,
}

/// What all reconciles share.
pub struct Pipelines {
    context: Arc<Context>,
    /// The pipelines, readable or not.
    stored: Store<Stored>,
    live: Live,
    complete: watch_channel::Receiver<bool>,
    memory: Memory,
    secrets: Secrets,
    scale_to_zero: ScaleToZero,
    written: Written,
    retries: Retries,
}

/// Looks after all pipelines until the end is asked for.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), Ended> {
    context.health.wait_for(CACHE, "not read yet");
    let mut tasks = JoinSet::new();
    let watches = Watches::start(&context, &mut tasks);
    let this = Arc::new(Pipelines {
        stored: watches.pipelines(),
        live: watches.live(),
        complete: watches.complete(),
        memory: Memory::default(),
        secrets: Secrets::default(),
        scale_to_zero: ScaleToZero::default(),
        written: Written::default(),
        retries: Retries::default(),
        context,
    });
    let (queue, calls) = Queue::new();
    let (forgetful, waiting) = (this.clone(), this.clone());
    let waits = move |what| waiting.context.health.wait_for(CACHE, what);
    tasks.spawn(watches.follow(queue.clone(), move |meta| forgetful.forget(meta), waits));
    tasks.spawn(call(this.clone(), queue));
    let end = shutdown.clone();
    let end: BoxFuture<'static, ()> = Box::pin(async move { end.requested().await });
    // Held until everything has been seen once: a pipeline whose children are not known yet would seem to have none.
    let seen = this.clone();
    let calls = async move {
        seen.complete().await;
        calls.map(Ok::<_, std::convert::Infallible>)
    };
    let calls = calls.flatten_stream().take_until(end);
    let config = Config::default().concurrency(this.context.args.concurrency);
    let reconciles = applier(
        |pipeline, this| -> BoxFuture<'static, _> { Box::pin(report::reported(pipeline, this)) },
        |pipeline, failure, this: Arc<Pipelines>| this.retries.after(&pipeline, failure),
        this.clone(),
        this.stored.clone(),
        Box::pin(calls),
        config,
    );
    tokio::select! {
        () = reconciles.for_each(report::log) => if shutdown.is_requested() { Ok(()) } else { Err(Ended::Queue) },
        Some(ended) = tasks.join_next() => {
            Err(Ended::Task(ended.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string())))
        }
    }
}

/// Calls that do not come from a watch: Secrets, rules, optional APIs, who has `external.metrics.k8s.io`.
async fn call(this: Arc<Pipelines>, queue: Queue) {
    this.complete().await;
    this.context.health.done(CACHE);
    let mut rules = Box::pin(this.context.rules.changes());
    let rules = async {
        while let Some(key) = rules.next().await {
            queue.call(&key.namespace, &key.name);
        }
    };
    let all = || this.stored.state().iter().for_each(|pipeline| queue.call_for(pipeline));
    let mut served = this.context.apis.changes();
    let apis = async {
        while served.changed().await.is_ok() {
            all();
        }
    };
    let mut standing = this.context.external_metrics.changes();
    let external_metrics = async {
        while standing.changed().await.is_ok() {
            all();
        }
    };
    tokio::join!(rules, apis, external_metrics, this.secrets.keep(&this.context.client, &this.stored, &queue));
}

/// One pass over one pipeline; `Err` once everything that can be done is done.
async fn reconcile(this: &Pipelines, pipeline: &MuttPipeline) -> Result<Done, Failure> {
    let Surroundings { fetched, rules, mut errors } = fetch::fetch(this, pipeline).await;
    let unasked = fetched.scale_to_zero.is_none();
    let resolved = if errors.is_empty() { Some(resolve::resolve(pipeline, &fetched)) } else { None };
    let resolved = resolved.transpose().unwrap_or_else(|error| {
        errors.push(error.into());
        None
    });
    let (namespace, name, uid) = identity(pipeline);
    let owner = Owner { namespace: &namespace, name: &name, uid: &uid };
    let applier = Applier::new(&this.context.client, &this.live, &this.memory, owner);
    let children = resolved.as_ref().map(build::build);
    let held_back = children.as_ref().map(|children| children.held_back.clone()).unwrap_or_default();
    let Applied { present, waiting, mut writes, errors: failed } = match children {
        Some(children) if !pipeline.spec.paused => applier.apply(children).await,
        _ => Applied { present: applier.look(), ..Applied::default() },
    };
    errors.extend(failed);
    let wants = !pipeline.spec.paused && resolved.as_ref().is_some_and(asks_us);
    this.ask_for_metrics(&pipeline.metadata, wants || present.values().any(|object| looks_at_us(object)));
    let unsure = unasked || !waiting.is_empty();
    let autoscaling = resolved.as_ref().map(|resolved| Autoscaling::new(resolved, waiting));
    let symptoms = symptoms(&this.context.client, &namespace, &present).await;
    let workloads = workloads(&roles(pipeline, resolved.as_ref()), &name, &held_back, &present);
    let before = this.written.current(pipeline);
    let status = status::status(&Findings {
        generation: pipeline.metadata.generation,
        paused: pipeline.spec.paused,
        errors: &errors,
        warnings: resolved.as_ref().map_or(&[], |resolved| &resolved.warnings),
        workloads: &workloads,
        autoscaling: autoscaling.as_ref(),
        symptoms: &symptoms,
        rules: rules.as_deref(),
        before: before.as_ref(),
        now: Time(Timestamp::now()),
    });
    match this.written.write(&this.context.client, pipeline, status.clone()).await {
        Ok(written) => writes += usize::from(written),
        Err(error) => errors.push(error),
    }
    let ailing = unsure || workloads.migration.is_some() || workloads.roles.iter().any(|role| !role.settled);
    Done { wrote: writes > 0, ailing, status, before }.or_failure(errors)
}

/// A pass that did what it could.
struct Done {
    wrote: bool,
    ailing: bool,
    status: mutt_crds::MuttPipelineStatus,
    before: Option<mutt_crds::MuttPipelineStatus>,
}

impl Done {
    fn or_failure(self, errors: Vec<Error>) -> Result<Self, Failure> {
        if errors.is_empty() { Ok(self) } else { Err(Failure { errors, ailing: self.ailing }) }
    }

    fn next(&self) -> Action {
        Action::requeue(if self.ailing { LOOK_AT_AILING_EVERY } else { LOOK_EVERY })
    }
}

fn identity(pipeline: &MuttPipeline) -> (String, String, String) {
    (pipeline.namespace().unwrap_or_default(), pipeline.name_any(), pipeline.uid().unwrap_or_default())
}

/// The roles and their fewest pods; of a pipeline that cannot be resolved, as far as it says so itself.
fn roles(pipeline: &MuttPipeline, resolved: Option<&Resolved>) -> Vec<(Component, i32)> {
    match resolved {
        Some(resolved) => resolved.roles().map(|role| (role.component, role.scale.least())).collect(),
        None => Component::ROLES
            .into_iter()
            .filter(|component| *component != Component::WebUi || pipeline.spec.web_ui.is_some())
            .map(|component| (component, 0))
            .collect(),
    }
}

/// Whether a role is to be scaled by a HorizontalPodAutoscaler that asks this operator.
fn asks_us(pipeline: &Resolved) -> bool {
    pipeline.roles().any(|role| match &role.scale {
        Scale::Scaled(scaled) => scaled.scaler == Scaler::HorizontalPodAutoscaler && scaled.queue.is_some(),
        Scale::Fixed(_) | Scale::Left(_) => false,
    })
}

/// Whether it is such a HorizontalPodAutoscaler.
fn looks_at_us(object: &DynamicObject) -> bool {
    let names = object.data["spec"]["metrics"].as_array().into_iter().flatten();
    names.filter_map(|metric| metric["external"]["metric"]["name"].as_str()).any(|name| name.starts_with("mutt_"))
}

impl Pipelines {
    /// Waits until everything has been seen once.
    async fn complete(&self) {
        // An error: what sees has ended, and with it this controller.
        let _ = self.complete.clone().wait_for(|complete| *complete).await;
    }

    /// Says whether a pipeline needs `external.metrics.k8s.io`: what is to ask for it, and what asks still, be it of a pipeline that is
    /// paused or cannot be resolved.
    fn ask_for_metrics(&self, meta: &ObjectMeta, asks: bool) {
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else { return };
        let key = PipelineKey::new(namespace, name);
        self.context.external_metrics.want(&key, asks);
        // It may have been deleted, and forgotten, while it was looked at.
        let stored = self.stored.get(&ObjectRef::new(name).within(namespace));
        if asks && stored.is_none_or(|stored| stored.uid() != meta.uid) {
            self.context.external_metrics.want(&key, false);
        }
    }

    /// The same of a pipeline that cannot even be read.
    fn ask_for_metrics_of_unreadable(&self, meta: &ObjectMeta) {
        let owned = self.live.owned_by(meta.uid.as_deref().unwrap_or_default());
        self.ask_for_metrics(meta, owned.iter().any(|(_, object)| looks_at_us(object)));
    }

    fn forget(&self, meta: &ObjectMeta) {
        self.ask_for_metrics(meta, false);
        if let Some(uid) = &meta.uid {
            self.memory.forget_pipeline(uid);
            self.written.forget(uid);
            self.retries.forget(uid);
        }
    }
}
