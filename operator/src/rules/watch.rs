//! What is seen in the API: rules, pipelines, namespaces, and the ConfigMaps of this half. Plain watches, one per
//! namespace or one for all; an object that cannot be read stalls nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use mutt_crds::{AlertRule, MuttPipeline};
use tokio::sync::mpsc;

use super::board::PipelineKey;
use super::index::{PipelineObject, PipelineSettings, RuleObject};
use super::keyspace::Turn;
use super::record::RULES_OF;
use super::report::SeenConfigMap;
use crate::runtime::scope::{api_in, scopes};

/// How often the labels of a single namespace are read, where namespaces may not be watched.
const NAMESPACE_EVERY: Duration = Duration::from_secs(30);
/// The label that every namespace has.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Something was seen.
#[derive(Debug)]
pub(super) enum Change {
    /// A rule is there.
    Rule(Box<RuleObject>),
    /// A rule (`namespace/name`) is gone.
    RuleGone(String),
    /// A pipeline is there.
    Pipeline(Box<PipelineObject>),
    /// A pipeline is gone.
    PipelineGone(PipelineKey),
    /// A namespace has these labels, or is gone.
    Namespace(String, Option<BTreeMap<String, String>>),
    /// A ConfigMap of this half was seen.
    ConfigMap(PipelineKey, SeenConfigMap),
    /// A watch has listed everything for the first time.
    Synced,
}

impl Change {
    fn listed(mut self) -> Self {
        if let Self::Rule(rule) = &mut self {
            rule.is_listed = true;
        }
        self
    }
}

/// The watches.
pub(super) struct Watches {
    changes: mpsc::Sender<Change>,
    client: Client,
}

impl Watches {
    /// Watches that send to `changes`.
    pub(super) fn new(client: Client, changes: mpsc::Sender<Change>) -> Self {
        Self { changes, client }
    }

    /// How many times [`Change::Synced`] comes.
    pub(super) fn count(namespaces: &[String]) -> usize {
        3 * namespaces.len().max(1)
    }

    /// Runs until the receiver is gone.
    pub(super) async fn run(self, namespaces: Vec<String>) {
        let mut tasks = tokio::task::JoinSet::new();
        for scope in scopes(&namespaces) {
            let changes = &self.changes;
            let rules = watcher(
                api_in::<DeserializeGuard<AlertRule>>(self.client.clone(), scope.as_deref()),
                Config::default(),
            );
            tasks.spawn(follow(rules, rule, |name| Change::RuleGone(name.to_owned()), changes.clone(), true));
            let pipelines = watcher(
                api_in::<DeserializeGuard<MuttPipeline>>(self.client.clone(), scope.as_deref()),
                Config::default(),
            );
            tasks.spawn(follow(pipelines, pipeline, |name| Change::PipelineGone(key_of(name)), changes.clone(), true));
            let ours = Config::default().labels(RULES_OF);
            let maps = watcher(api_in::<PartialObjectMeta<ConfigMap>>(self.client.clone(), scope.as_deref()), ours);
            tasks.spawn(follow(maps, config_map, gone_config_map, changes.clone(), false));
            if let Some(namespace) = scope {
                tasks.spawn(poll_labels(self.client.clone(), namespace, changes.clone()));
            } else {
                let namespaces = Api::<PartialObjectMeta<Namespace>>::all(self.client.clone());
                let gone = |name: &str| Change::Namespace(name.trim_start_matches('/').to_owned(), None);
                let watched = watcher(namespaces, Config::default());
                tasks.spawn(follow(watched, namespace_labels, gone, changes.clone(), true));
            }
        }
        // Each ends only when the receiver is gone; a panic must not go unseen.
        if let Some(Err(error)) = tasks.join_next().await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Turns a watch into changes. What vanished while the watch was cut is told as gone.
async fn follow<K: Resource<DynamicType = ()>>(
    events: impl Stream<Item = Result<Event<K>, kube::runtime::watcher::Error>> + Send,
    seen: impl Fn(K) -> Option<Change>,
    gone: impl Fn(&str) -> Change,
    changes: mpsc::Sender<Change>,
    tells_synced: bool,
) {
    let mut events = pin!(events.default_backoff());
    let (mut known, mut listed): (HashSet<String>, HashSet<String>) = (HashSet::new(), HashSet::new());
    let mut is_synced = !tells_synced;
    while let Some(event) = events.next().await {
        let mut told: Vec<Change> = Vec::new();
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(name_of(&object));
                known.insert(name_of(&object));
                told.extend(seen(object).map(Change::listed));
            }
            Ok(Event::InitDone) => {
                let vanished = known.difference(&listed).map(|name| gone(name));
                told.extend(vanished);
                known = std::mem::take(&mut listed);
                if !std::mem::replace(&mut is_synced, true) {
                    told.push(Change::Synced);
                }
            }
            Ok(Event::Apply(object)) => {
                known.insert(name_of(&object));
                told.extend(seen(object));
            }
            Ok(Event::Delete(object)) => {
                known.remove(&name_of(&object));
                told.push(gone(&name_of(&object)));
            }
            Err(error) => tracing::warn!(%error, kind = %K::kind(&()), "watch interrupted; it is made anew"),
        }
        for change in told {
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }
}

fn name_of(object: &impl Resource<DynamicType = ()>) -> String {
    let meta = object.meta();
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn key_of(name: &str) -> PipelineKey {
    let (namespace, name) = name.split_once('/').unwrap_or_default();
    PipelineKey::new(namespace, name)
}

#[allow(clippy::unnecessary_wraps, reason = "all watches are followed alike")]
fn rule(object: DeserializeGuard<AlertRule>) -> Option<Change> {
    let name = name_of(&object);
    let meta = object.meta();
    let (uid, generation) = (meta.uid.clone().unwrap_or_default(), meta.generation.unwrap_or_default());
    let version = version_of(meta.resource_version.as_deref());
    let labels = meta.labels.clone().unwrap_or_default();
    let (spec, status) = match object.0 {
        Ok(rule) => (Ok(Arc::new(rule.spec)), rule.status.unwrap_or_default()),
        Err(invalid) => (Err(invalid.error), mutt_crds::AlertRuleStatus::default()),
    };
    Some(Change::Rule(Box::new(RuleObject { name, uid, generation, labels, spec, status, version, is_listed: false })))
}

/// A resourceVersion as a number: the API promises that a later one is greater.
pub(super) fn version_of(resource_version: Option<&str>) -> u64 {
    resource_version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// A pipeline that cannot be read stays as it was seen last; the pipeline half says so.
fn pipeline(object: DeserializeGuard<MuttPipeline>) -> Option<Change> {
    let key = key_of(&name_of(&object));
    let object = object.0.ok()?;
    let spec = object.spec;
    let teams = spec.teams.into_iter().flat_map(|entry| {
        let team = entry.team;
        entry.hosts.into_iter().map(move |host| (host, team.clone()))
    });
    let settings = PipelineSettings {
        redis: spec.redis,
        development_hosts: BTreeSet::from_iter(spec.development_hosts),
        teams: teams.collect(),
    };
    Some(Change::Pipeline(Box::new(PipelineObject {
        key,
        turn: Turn::of(&object.metadata),
        uid: object.metadata.uid.unwrap_or_default(),
        rule_selector: spec.rule_selector,
        namespace_selector: spec.rule_namespace_selector,
        settings: Arc::new(settings),
    })))
}

#[allow(clippy::needless_pass_by_value, reason = "all watches are followed alike")]
fn config_map(object: PartialObjectMeta<ConfigMap>) -> Option<Change> {
    let namespace = object.namespace()?;
    let pipeline = object.labels().get(RULES_OF)?.clone();
    let seen = SeenConfigMap { name: object.name_any(), resource_version: object.resource_version() };
    Some(Change::ConfigMap(PipelineKey::new(namespace, pipeline), seen))
}

/// The pipeline stands in the name: `<pipeline>-rules` or `<pipeline>-rules-<part>`.
fn gone_config_map(name: &str) -> Change {
    let key = key_of(name);
    let pipeline = match key.name.strip_suffix("-rules") {
        Some(pipeline) => pipeline,
        None => key.name.rsplit_once("-rules-").map_or("", |(pipeline, _)| pipeline),
    };
    let seen = SeenConfigMap { name: key.name.clone(), resource_version: None };
    Change::ConfigMap(PipelineKey::new(key.namespace.clone(), pipeline), seen)
}

#[allow(clippy::unnecessary_wraps, reason = "all watches are followed alike")]
fn namespace_labels(object: PartialObjectMeta<Namespace>) -> Option<Change> {
    Some(Change::Namespace(object.name_any(), Some(object.metadata.labels.unwrap_or_default())))
}

/// Labels of a namespace that may be read but not watched; one that may not even be read has its name.
async fn poll_labels(client: Client, name: String, changes: mpsc::Sender<Change>) {
    let api: Api<Namespace> = Api::all(client);
    let mut is_synced = false;
    loop {
        let labels = match api.get_metadata(&name).await {
            Ok(object) => Some(Some(object.metadata.labels.unwrap_or_default())),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                Some(Some(BTreeMap::from([(NAME_LABEL.to_owned(), name.clone())])))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Some(None),
            Err(error) => {
                tracing::warn!(%error, namespace = name, "the labels of a namespace cannot be read");
                None
            }
        };
        let pause = if labels.is_some() { NAMESPACE_EVERY } else { NAMESPACE_EVERY / 15 };
        let mut told = Vec::new();
        if let Some(labels) = labels {
            told.push(Change::Namespace(name.clone(), labels));
            if !std::mem::replace(&mut is_synced, true) {
                told.push(Change::Synced);
            }
        }
        for change in told {
            if changes.send(change).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(pause).await;
    }
}
