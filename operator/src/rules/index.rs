//! Which rules each pipeline has, from the objects as they were seen last. Pure: no client and no clock.
//!
//! A rule is judged alone and only when its spec changes ([`Index::unjudged`], [`Index::judged`]). A rejected one stays in
//! use in its last good form.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use mutt_crds::AlertRuleStatus;
use mutt_crds::pipeline::RedisSpec;
use mutt_rules::AlertRuleSpec;

use super::board::PipelineKey;
use super::form::{Form, Verdict};
use super::keyspace::{Keyspace, Turn};
use super::selectors::Selectors;

/// An AlertRule as seen in the API.
#[derive(Debug, Clone)]
pub(super) struct RuleObject {
    /// `namespace/name`.
    pub(super) name: String,
    /// Its UID.
    pub(super) uid: String,
    /// `metadata.generation`.
    pub(super) generation: i64,
    /// Its labels.
    pub(super) labels: BTreeMap<String, String>,
    /// Its spec, or why the stored object cannot be read.
    pub(super) spec: Result<Arc<AlertRuleSpec>, String>,
    /// Its status.
    pub(super) status: AlertRuleStatus,
    /// `metadata.resourceVersion` as a number; a later one is greater.
    pub(super) version: u64,
    /// Whether it comes from a list, not from an event.
    pub(super) is_listed: bool,
}

/// What counts here of a MuttPipeline.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PipelineObject {
    /// Namespace and name.
    pub(super) key: PipelineKey,
    /// Its UID.
    pub(super) uid: String,
    /// Its turn among pipelines with the same keys.
    pub(super) turn: Turn,
    /// Labels of its rules; none = all.
    pub(super) rule_selector: Option<LabelSelector>,
    /// Labels of its rules' namespaces; none = its own namespace only.
    pub(super) namespace_selector: Option<LabelSelector>,
    /// What its task needs.
    pub(super) settings: Arc<PipelineSettings>,
}

/// What the rule set of a pipeline needs besides rules, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PipelineSettings {
    /// Where Redis is.
    pub(super) redis: RedisSpec,
    /// Hosts whose events take the development handling.
    pub(super) development_hosts: BTreeSet<String>,
    /// Host → team.
    pub(super) teams: BTreeMap<String, String>,
}

/// The rules of a pipeline.
#[derive(Debug, Clone)]
pub(super) struct PipelineSet {
    /// UID of the MuttPipeline.
    pub(super) uid: String,
    /// Counts the sets that were made; a later one has a greater number.
    pub(super) version: u64,
    /// When it was created.
    pub(super) created: Option<Timestamp>,
    /// Why nothing may be published for it, if so.
    pub(super) withheld: Option<String>,
    /// Why its selectors cannot be read, if so; its rules are then those of the last ones that could.
    pub(super) selector_error: Option<String>,
    /// See [`PipelineSettings`].
    pub(super) settings: Arc<PipelineSettings>,
    /// Rules to be served, in the order in which they are tried.
    pub(super) forms: Vec<Arc<Form>>,
    /// Names of rejected rules whose last good form is not known here: Redis may serve it.
    pub(super) lost: BTreeSet<String>,
    /// Selected rules that are accepted.
    pub(super) accepted: usize,
    /// Selected rules that are not.
    pub(super) rejected: usize,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Entry {
    /// As seen last.
    pub(super) object: RuleObject,
    /// What is said about it; none before it was judged.
    pub(super) verdict: Option<Verdict>,
    /// Its accepted form, or the last one that was.
    pub(super) good: Option<Arc<Form>>,
    /// The pipelines that select it.
    pub(super) pipelines: BTreeSet<PipelineKey>,
}

impl Entry {
    /// Whether its present spec is good.
    pub(super) fn is_accepted(&self) -> bool {
        self.verdict.as_ref().is_some_and(Verdict::is_accepted)
    }
}

#[derive(Debug)]
struct Pipeline {
    object: PipelineObject,
    keyspace: Keyspace,
    /// The last ones that could be read; none = there were none yet.
    selectors: Option<Selectors>,
    selector_error: Option<String>,
}

/// All rules and pipelines.
#[derive(Debug, Default)]
pub(super) struct Index {
    rules: BTreeMap<String, Entry>,
    pipelines: BTreeMap<PipelineKey, Pipeline>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    unjudged: BTreeSet<String>,
    /// Rules whose place in pipelines must be looked at again.
    unplaced: BTreeSet<String>,
    touched_rules: BTreeSet<String>,
    restated: BTreeSet<String>,
    touched_pipelines: BTreeSet<PipelineKey>,
    versions: u64,
}

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Rules that changed themselves, in what is said of them or in where they are used; also those that are gone.
    pub(super) rules: BTreeSet<String>,
    /// Rules of which only the status changed.
    pub(super) restated: BTreeSet<String>,
    /// Pipelines with their set; none = the pipeline is gone.
    pub(super) sets: Vec<(PipelineKey, Option<PipelineSet>)>,
}

impl Index {
    /// A rule was seen.
    pub(super) fn apply_rule(&mut self, mut object: RuleObject) {
        let name = object.name.clone();
        let before = self.rules.remove(&name);
        let same_object = before.filter(|entry| entry.object.uid == object.uid);
        let Some(mut entry) = same_object else {
            // Another object of the same name starts anew: it has no last good form.
            self.forget_place(&name);
            self.unjudged.insert(name.clone());
            self.unplaced.insert(name.clone());
            let entry = Entry { object, verdict: None, good: None, pipelines: BTreeSet::new() };
            self.rules.insert(name, entry);
            return;
        };
        if entry.object.spec != object.spec {
            self.unjudged.insert(name.clone());
        }
        if entry.object.labels != object.labels {
            self.unplaced.insert(name.clone());
        }
        if entry.object.generation != object.generation {
            self.touched_rules.insert(name.clone());
        }
        // An event may be older than the answer to our own write; what is listed anew counts as it is, since after etcd was
        // restored from a backup versions begin again below.
        let is_older = !object.is_listed && object.version < entry.object.version;
        let known = if is_older { entry.object.version } else { object.version };
        if is_older {
            object.status = std::mem::take(&mut entry.object.status);
        } else if entry.object.status != object.status {
            self.restated.insert(name.clone());
        }
        entry.object = RuleObject { version: known, ..object };
        self.rules.insert(name, entry);
    }

    /// A rule is gone.
    pub(super) fn delete_rule(&mut self, name: &str) {
        self.forget_place(name);
        self.rules.remove(name);
        self.unjudged.remove(name);
        self.unplaced.remove(name);
        self.touched_rules.insert(name.to_owned());
    }

    /// A pipeline was seen. Selectors that cannot be read change nothing: the rules stay in use.
    pub(super) fn apply_pipeline(&mut self, object: PipelineObject) {
        let before = self.pipelines.get(&object.key);
        if before.is_some_and(|before| before.object == object) {
            return;
        }
        let (selectors, selector_error) =
            match Selectors::of(object.rule_selector.clone(), object.namespace_selector.clone()) {
                Ok(selectors) => (Some(selectors), None),
                Err(error) => {
                    let last = before.filter(|before| before.object.uid == object.uid);
                    (last.and_then(|last| last.selectors.clone()), Some(error))
                }
            };
        let pipeline = Pipeline { keyspace: Keyspace::of(&object.settings.redis), selectors, selector_error, object };
        let same_turn = before
            .is_some_and(|before| before.keyspace == pipeline.keyspace && before.object.turn == pipeline.object.turn);
        if !same_turn {
            let gave_up = before.map(|before| &before.keyspace);
            let meets = |other: &&Pipeline| other.keyspace == pipeline.keyspace || Some(&other.keyspace) == gave_up;
            let rivals = self.pipelines.values().filter(meets).map(|other| other.object.key.clone());
            self.touched_pipelines.extend(rivals);
        }
        let same_selection = before.is_some_and(|before| {
            before.object.rule_selector == pipeline.object.rule_selector
                && before.object.namespace_selector == pipeline.object.namespace_selector
        });
        if !same_selection {
            self.unplaced.extend(self.rules.keys().cloned());
        }
        self.touched_pipelines.insert(pipeline.object.key.clone());
        self.pipelines.insert(pipeline.object.key.clone(), pipeline);
    }

    /// A pipeline is gone.
    pub(super) fn delete_pipeline(&mut self, key: &PipelineKey) {
        if let Some(gone) = self.pipelines.remove(key) {
            let rivals = self.pipelines.values().filter(|other| other.keyspace == gone.keyspace);
            self.touched_pipelines.extend(rivals.map(|other| other.object.key.clone()));
        }
        self.touched_pipelines.insert(key.clone());
        for (name, entry) in &mut self.rules {
            if entry.pipelines.remove(key) {
                self.touched_rules.insert(name.clone());
            }
        }
    }

    /// The labels of a namespace were seen; none = it is gone, its rules go by themselves.
    pub(super) fn apply_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) {
        let before = self.namespaces.get(name);
        if before == labels.as_ref() {
            return;
        }
        self.unplaced.extend(self.rules.keys().filter(|rule| namespace_of(rule) == name).cloned());
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
    }

    /// Rules whose spec was not judged yet. Those that cannot be read are judged here.
    pub(super) fn unjudged(&mut self) -> Vec<(String, Arc<AlertRuleSpec>)> {
        let mut readable = Vec::new();
        for name in std::mem::take(&mut self.unjudged) {
            match self.rules.get(&name).map(|entry| entry.object.spec.clone()) {
                Some(Ok(spec)) => readable.push((name, spec)),
                Some(Err(error)) => self.judged(&name, Verdict::unreadable(&error), None),
                None => {}
            }
        }
        readable
    }

    /// What was found about a rule's present spec.
    pub(super) fn judged(&mut self, name: &str, verdict: Verdict, form: Option<Form>) {
        let Some(entry) = self.rules.get_mut(name) else { return };
        entry.verdict = Some(verdict);
        let same = matches!((&entry.good, &form), (Some(good), Some(form)) if good.hash == form.hash);
        if let Some(form) = form.filter(|_| !same) {
            entry.good = Some(Arc::new(form));
        }
        self.touched_rules.insert(name.to_owned());
        self.touched_pipelines.extend(entry.pipelines.iter().cloned());
    }

    /// The last good form of a rejected rule was found in what a pipeline serves.
    pub(super) fn recover(&mut self, form: &Arc<Form>) {
        let Some(entry) = self.rules.get_mut(form.name()) else { return };
        if entry.good.is_none() && entry.verdict.as_ref().is_some_and(|verdict| !verdict.is_accepted()) {
            entry.good = Some(Arc::clone(form));
            self.touched_rules.insert(form.name().to_owned());
            self.touched_pipelines.extend(entry.pipelines.iter().cloned());
        }
    }

    /// Puts rules in their places and returns what changed since the last call.
    pub(super) fn changes(&mut self) -> Changes {
        for name in std::mem::take(&mut self.unplaced) {
            self.place(&name);
        }
        let pipelines = std::mem::take(&mut self.touched_pipelines);
        let sets = pipelines.into_iter().map(|key| {
            let set = self.set_of(&key);
            (key, set)
        });
        let sets = sets.collect();
        let (rules, restated) = (std::mem::take(&mut self.touched_rules), std::mem::take(&mut self.restated));
        Changes { rules, restated, sets }
    }

    fn place(&mut self, name: &str) {
        let Some(entry) = self.rules.get_mut(name) else { return };
        let namespace = namespace_of(name);
        let none = BTreeMap::new();
        let labels = self.namespaces.get(namespace).unwrap_or(&none);
        let selecting = self.pipelines.values().filter(|pipeline| {
            let own = pipeline.object.key.namespace == namespace;
            pipeline.selectors.as_ref().is_some_and(|selectors| selectors.select(own, labels, &entry.object.labels))
        });
        let pipelines: BTreeSet<PipelineKey> = selecting.map(|pipeline| pipeline.object.key.clone()).collect();
        if pipelines != entry.pipelines {
            self.touched_pipelines.extend(pipelines.symmetric_difference(&entry.pipelines).cloned());
            self.touched_rules.insert(name.to_owned());
            entry.pipelines = pipelines;
        }
    }

    fn forget_place(&mut self, name: &str) {
        if let Some(entry) = self.rules.get(name) {
            self.touched_pipelines.extend(entry.pipelines.iter().cloned());
        }
    }

    fn set_of(&mut self, key: &PipelineKey) -> Option<PipelineSet> {
        self.versions += 1;
        let pipeline = self.pipelines.get(key)?;
        let mut set = PipelineSet {
            uid: pipeline.object.uid.clone(),
            version: self.versions,
            created: pipeline.object.turn.created(),
            withheld: self.withheld(pipeline),
            selector_error: pipeline.selector_error.clone(),
            settings: Arc::clone(&pipeline.object.settings),
            forms: Vec::new(),
            lost: BTreeSet::new(),
            accepted: 0,
            rejected: 0,
        };
        for (name, entry) in self.rules.iter().filter(|(_, entry)| entry.pipelines.contains(key)) {
            let is_accepted = entry.is_accepted();
            set.accepted += usize::from(is_accepted);
            set.rejected += usize::from(!is_accepted);
            // Whoever switches a broken rule off wants it off.
            let is_off = !is_accepted && entry.object.spec.as_ref().is_ok_and(|spec| !spec.enabled);
            match &entry.good {
                _ if is_off => {}
                Some(form) => set.forms.push(Arc::clone(form)),
                None => drop(set.lost.insert(name.clone())),
            }
        }
        set.forms.sort_by(|a, b| a.rule.order(&b.rule));
        Some(set)
    }

    /// Why nothing may be published for a pipeline.
    fn withheld(&self, pipeline: &Pipeline) -> Option<String> {
        if pipeline.selectors.is_none() {
            return pipeline.selector_error.clone();
        }
        let rival = self
            .pipelines
            .values()
            .find(|other| other.keyspace == pipeline.keyspace && other.object.turn < pipeline.object.turn)?;
        Some(format!(
            "redis.url and redis.keyPrefix {:?} are those of the older pipeline {}: only its rules are published there",
            pipeline.object.settings.redis.key_prefix, rival.object.key
        ))
    }

    /// One rule.
    pub(super) fn rule(&self, name: &str) -> Option<&Entry> {
        self.rules.get(name)
    }

    /// The status of a rule was written; `version` is the object's since then.
    pub(super) fn set_status(&mut self, name: &str, uid: &str, status: AlertRuleStatus, version: u64) {
        let same = |entry: &&mut Entry| entry.object.uid == uid;
        if let Some(entry) = self.rules.get_mut(name).filter(same) {
            (entry.object.status, entry.object.version) = (status, version);
        }
    }

    /// Names of all rules.
    pub(super) fn rule_names(&self) -> impl Iterator<Item = &String> {
        self.rules.keys()
    }
}

/// The namespace of `namespace/name`.
pub(super) fn namespace_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}
