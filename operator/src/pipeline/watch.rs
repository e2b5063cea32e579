//! Everything that asks for a reconcile: watches of the pipelines and of every child kind, in all watched namespaces, and the queue
//! that brings their calls together.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use kube::{
    Api, Resource, ResourceExt,
    core::{DeserializeGuard, DynamicObject, ObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store},
        watcher::{self, Event, watcher},
    },
};
use mutt_crds::MuttPipeline;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    build::labels::{ALL_CHILDREN, PIPELINE},
    kinds::ChildKind,
    mirror::{Live, Mirror, Seen, controller},
    unread,
};
use crate::{
    rules::keyspace::Keyspace,
    runtime::{
        Context,
        discovery::Served,
        scope::{api_in, dynamic_api_in, scopes},
    },
};

/// A pipeline as it is stored, be it readable or not: one that is not must not end the watch of all others.
pub type Stored = DeserializeGuard<MuttPipeline>;

/// Calls for one pipeline within this time are one: a rollout changes a Deployment ten times a second. It begins with the first call, so
/// that a pipeline whose children change all the time still has its turn.
const GATHER: Duration = Duration::from_millis(100);
/// Events that may wait for their place in memory; a watch that is faster waits.
const EVENTS_MAX: usize = 256;

/// Where reconciles are asked for. Cheap to clone.
#[derive(Clone)]
pub struct Queue(mpsc::UnboundedSender<ObjectRef<Stored>>);

impl Queue {
    /// A queue and what comes out of it: each pipeline once, however often it was called for while its calls were gathered.
    pub(super) fn new() -> (Self, impl Stream<Item = ObjectRef<Stored>> + Send) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let gathered = stream::unfold(receiver, |mut receiver| async move {
            let first: ObjectRef<Stored> = receiver.recv().await?;
            let mut pipelines = HashSet::from([first]);
            tokio::time::sleep(GATHER).await;
            while let Ok(more) = receiver.try_recv() {
                pipelines.insert(more);
            }
            Some((stream::iter(pipelines), receiver))
        });
        (Self(sender), gathered.flatten())
    }

    /// Asks for a reconcile of the pipeline.
    pub fn call(&self, namespace: &str, name: &str) {
        self.call_by(ObjectRef::new(name).within(namespace));
    }

    fn call_by(&self, pipeline: ObjectRef<Stored>) {
        // Nobody listens only while the operator ends.
        let _ = self.0.send(pipeline);
    }

    /// Asks for a reconcile of a stored pipeline.
    pub(super) fn call_for(&self, pipeline: &Stored) {
        self.call(&pipeline.namespace().unwrap_or_default(), &pipeline.name_any());
    }

    /// By the owner reference; by the label where somebody has taken that out.
    fn call_owner_of(&self, child: &ObjectMeta) {
        let label = || child.labels.as_ref()?.get(PIPELINE).map(String::as_str);
        let name = controller(child).map(|(name, _)| name).or_else(label);
        if let (Some(name), Some(namespace)) = (name, child.namespace.as_deref()) {
            self.call(namespace, name);
        }
    }
}

enum Message {
    Pipeline(usize, Box<Event<Stored>>),
    Child(ChildKind, usize, Box<Event<DynamicObject>>),
    /// The kind is not served now.
    NotServed(ChildKind, usize),
}

impl Message {
    /// Whether a watch may have shown everything with it.
    fn ends_a_listing(&self) -> bool {
        match self {
            Self::Pipeline(_, event) => matches!(**event, Event::InitDone),
            Self::Child(_, _, event) => matches!(**event, Event::InitDone),
            Self::NotServed(..) => true,
        }
    }
}

/// The watches, and what they have seen.
pub(super) struct Watches {
    messages: mpsc::Receiver<Message>,
    pipelines: Mirror<Stored>,
    children: BTreeMap<ChildKind, Mirror<DynamicObject>>,
    /// What every pipeline was called for last, and where its keys are.
    told: HashMap<ObjectRef<Stored>, (u64, Option<Keyspace>)>,
    complete: watch::Sender<bool>,
    /// By watch: its namespace; none = all.
    scopes: Vec<Option<String>>,
}

impl Watches {
    /// Starts them as tasks of `tasks`.
    pub(super) fn start(context: &Context, tasks: &mut JoinSet<()>) -> Self {
        let scopes = scopes(&context.args.watch_namespaces);
        let (sender, messages) = mpsc::channel(EVENTS_MAX);
        for (number, scope) in scopes.iter().enumerate() {
            let api = api_in(context.client.clone(), scope.as_deref());
            tasks.spawn(watch_pipelines(api, number, sender.clone()));
            for &kind in ChildKind::ALL {
                let api = dynamic_api_in(context.client.clone(), scope.as_deref(), &kind.resource());
                tasks.spawn(watch_children(kind, api, number, context.apis.changes(), sender.clone()));
            }
        }
        let children = ChildKind::ALL.iter().map(|kind| (*kind, Mirror::new(kind.resource(), scopes.len()))).collect();
        Self {
            messages,
            pipelines: Mirror::new((), scopes.len()),
            children,
            told: HashMap::new(),
            complete: watch::Sender::new(false),
            scopes,
        }
    }

    pub(super) fn pipelines(&self) -> Store<Stored> {
        self.pipelines.store()
    }

    /// Whether everything has been seen once. (Of several that wait for one of kube's stores, only the last is woken.)
    pub(super) fn complete(&self) -> watch::Receiver<bool> {
        self.complete.subscribe()
    }

    pub(super) fn live(&self) -> Live {
        Live::new(self.children.iter().map(|(kind, mirror)| (*kind, mirror.store())))
    }

    /// Takes in what the watches see and calls for what it touches. `gone` hears of every pipeline that is deleted, `waits` of what has
    /// not been read yet until everything has.
    pub(super) async fn follow(
        mut self,
        queue: Queue,
        mut gone: impl FnMut(&ObjectMeta),
        mut waits: impl FnMut(String),
    ) {
        waits(self.unread());
        while let Some(message) = self.messages.recv().await {
            let is_news = message.ends_a_listing();
            match message {
                Message::Pipeline(watch, event) => self.pipeline(watch, *event, &queue, &mut gone),
                Message::Child(kind, watch, event) => {
                    let idle = self.has_only_measured(kind, &event);
                    match self.children.get_mut(&kind).and_then(|mirror| mirror.take(watch, *event)) {
                        Some(Seen::Object(_)) if idle => {}
                        Some(Seen::Object(child)) => queue.call_owner_of(&child),
                        Some(Seen::Listed(children)) => children.iter().for_each(|child| queue.call_owner_of(child)),
                        None => {}
                    }
                }
                Message::NotServed(kind, watch) => {
                    if let Some(mirror) = self.children.get_mut(&kind) {
                        mirror.ended(watch).iter().for_each(|child| queue.call_owner_of(child));
                    }
                }
            }
            if !*self.complete.borrow() && is_news {
                let unread = self.unread();
                if unread.is_empty() {
                    self.complete.send_replace(true);
                } else {
                    waits(unread);
                }
            }
        }
    }

    /// Whether an autoscaler has nothing to say but what it measures, every 15 s.
    fn has_only_measured(&self, kind: ChildKind, event: &Event<DynamicObject>) -> bool {
        let Event::Apply(object) = event else { return false };
        let Some(mirror) = self.children.get(&kind).filter(|_| kind.is_autoscaler()) else { return false };
        let known = mirror.store().get(&ObjectRef::from_obj_with(object, kind.resource()));
        known.is_some_and(|known| what_counts(&known) == what_counts(object))
    }

    fn unread(&self) -> String {
        unread::in_words(&self.scopes, &self.pipelines, &self.children)
    }

    /// A change of the status alone (it is written by us) calls for nothing. Who has the same keys as a pipeline that comes, changes or
    /// goes has its turn, too: only one of them may use them.
    fn pipeline(&mut self, watch: usize, event: Event<Stored>, queue: &Queue, gone: &mut impl FnMut(&ObjectMeta)) {
        let deleted = matches!(event, Event::Delete(_));
        match self.pipelines.take(watch, event) {
            Some(Seen::Object(meta)) if deleted => self.deleted(&meta, queue, gone),
            Some(Seen::Object(meta)) => self.changed(&meta, queue),
            Some(Seen::Listed(deleted)) => deleted.iter().for_each(|meta| self.deleted(meta, queue, gone)),
            None => {}
        }
    }

    fn changed(&mut self, meta: &ObjectMeta, queue: &Queue) {
        let pipeline = reference(meta);
        let what_counts = digest(meta);
        if self.told.get(&pipeline).is_some_and(|(told, _)| *told == what_counts) {
            return;
        }
        let stored = self.pipelines.store().get(&pipeline);
        let keys = stored.and_then(|stored| stored.0.as_ref().ok().map(|pipeline| Keyspace::of(&pipeline.spec.redis)));
        let before = self.told.insert(pipeline.clone(), (what_counts, keys.clone())).and_then(|(_, before)| before);
        queue.call_by(pipeline);
        self.call_sharers(before.as_ref(), queue);
        self.call_sharers(keys.as_ref(), queue);
    }

    fn deleted(&mut self, meta: &ObjectMeta, queue: &Queue, gone: &mut impl FnMut(&ObjectMeta)) {
        gone(meta);
        if let Some((_, keys)) = self.told.remove(&reference(meta)) {
            self.call_sharers(keys.as_ref(), queue);
        }
    }

    fn call_sharers(&self, keys: Option<&Keyspace>, queue: &Queue) {
        for (pipeline, _) in self.told.iter().filter(|(_, (_, theirs))| keys.is_some() && theirs.as_ref() == keys) {
            queue.call_by(pipeline.clone());
        }
    }
}

/// What of an autoscaler asks for a reconcile: whose it is, what it is to do, and what it says of itself.
fn what_counts(scaler: &DynamicObject) -> (ObjectMeta, &Value, Vec<Value>) {
    let meta = ObjectMeta { managed_fields: None, resource_version: None, ..scaler.metadata.clone() };
    let said = scaler.data["status"]["conditions"].as_array().into_iter().flatten();
    let said = said
        .map(|condition| json!([condition["type"], condition["status"], condition["reason"], condition["message"]]));
    (meta, &scaler.data["spec"], said.collect())
}

fn reference(meta: &ObjectMeta) -> ObjectRef<Stored> {
    ObjectRef::new(meta.name.as_deref().unwrap_or_default()).within(meta.namespace.as_deref().unwrap_or_default())
}

/// What of a pipeline's metadata asks for a reconcile: identity, generation (every change of the spec), annotations, deletion.
fn digest(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&meta.uid, meta.generation, &meta.annotations, meta.deletion_timestamp.is_some()).hash(&mut hasher);
    hasher.finish()
}

async fn watch_pipelines(api: Api<Stored>, number: usize, out: mpsc::Sender<Message>) {
    let config = watcher::Config::default();
    forward("MuttPipeline", api, config, &out, |event| Message::Pipeline(number, Box::new(event))).await;
}

/// Watches a kind while it is served.
async fn watch_children(
    kind: ChildKind,
    api: Api<DynamicObject>,
    number: usize,
    mut served: watch::Receiver<Option<Served>>,
    out: mpsc::Sender<Message>,
) {
    loop {
        if !served.borrow_and_update().is_some_and(|served| kind.is_served(served)) {
            if out.send(Message::NotServed(kind, number)).await.is_err() {
                return;
            }
            if served.wait_for(|served| served.is_some_and(|served| kind.is_served(served))).await.is_err() {
                return;
            }
        }
        let config = watcher::Config::default().labels(ALL_CHILDREN);
        tokio::select! {
            () = forward(kind, api.clone(), config, &out, |event| Message::Child(kind, number, Box::new(event))) => return,
            ended = served.wait_for(|served| !served.is_some_and(|served| kind.is_served(served))) => {
                if ended.is_err() {
                    return;
                }
            }
        }
    }
}

/// Hands on what a watch sees, for ever. A watch that fails begins anew, after growing pauses.
async fn forward<K>(
    what: impl std::fmt::Display,
    api: Api<K>,
    config: watcher::Config,
    out: &mpsc::Sender<Message>,
    message: impl Fn(Event<K>) -> Message,
) where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let mut events = Box::pin(watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if out.send(message(event)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, kind = %what, "a watch failed; it begins anew"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[tokio::test]
    async fn calls_are_gathered_and_an_endless_caller_does_not_hold_them_up() {
        let (queue, calls) = Queue::new();
        let mut calls = std::pin::pin!(calls);
        for _ in 0..3 {
            queue.call("a", "core");
            queue.call("a", "edge");
        }
        let names = [calls.next().await.unwrap().name, calls.next().await.unwrap().name];
        assert!(names.contains(&"core".to_owned()) && names.contains(&"edge".to_owned()), "{names:?}");
        let caller = tokio::spawn(async move {
            loop {
                queue.call("a", "core");
                tokio::time::sleep(GATHER / 10).await;
            }
        });
        for _ in 0..3 {
            assert_eq!(calls.next().await.unwrap().name, "core");
        }
        caller.abort();
    }

    #[test]
    fn what_an_autoscaler_measures_is_no_news_and_what_it_says_is() {
        let scaler = |version: &str, measured: i32, reason: &str| -> DynamicObject {
            let conditions =
                [json!({"type": "ScalingActive", "status": "True", "reason": reason, "lastTransitionTime": version})];
            let status = json!({"currentMetrics": [measured], "conditions": conditions});
            let meta = json!({"name": "core-alerter", "resourceVersion": version});
            serde_json::from_value(json!({"metadata": meta, "spec": {"maxReplicas": 9}, "status": status})).unwrap()
        };
        let before = scaler("1", 5, "ValidMetricFound");
        assert!(what_counts(&before) == what_counts(&scaler("2", 6, "ValidMetricFound")));
        assert!(what_counts(&before) != what_counts(&scaler("2", 5, "FailedGetExternalMetric")));
        let mut other = scaler("2", 5, "ValidMetricFound");
        other.data["spec"]["maxReplicas"] = json!(3);
        assert!(what_counts(&before) != what_counts(&other));
        other = before.clone();
        other.metadata.labels = Some(BTreeMap::new());
        assert!(what_counts(&before) != what_counts(&other));
    }

    #[test]
    fn the_status_alone_changes_nothing_that_counts() {
        let meta = ObjectMeta { generation: Some(3), resource_version: Some("7".into()), ..ObjectMeta::default() };
        let status = ObjectMeta { resource_version: Some("8".into()), ..meta.clone() };
        let annotated = ObjectMeta { annotations: Some(BTreeMap::from([("a".into(), "b".into())])), ..meta.clone() };
        assert_eq!(digest(&meta), digest(&status));
        assert_ne!(digest(&meta), digest(&annotated));
        assert_ne!(digest(&meta), digest(&ObjectMeta { generation: Some(4), ..meta.clone() }));
    }
}
