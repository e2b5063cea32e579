//! Holds everything together: what is seen goes into the index, sets go to the pipelines' tasks, what these hear goes into
//! the rules' statuses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use mutt_crds::PipelineBinding;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Error;
use super::acks::{Alerters, Use};
use super::board::PipelineKey;
use super::crew::Crew;
use super::desk::{Desk, Written};
use super::form::{Form, Verdict, judge};
use super::index::{Changes, Index, PipelineSet};
use super::redis::Trouble;
use super::report::Report;
use super::standing::Standing;
use super::status::{Decision, Facts, HOLD, LAG, decide};
use super::tell;
use super::watch::Change;
use crate::runtime::Context;

/// Quiet time before a change is acted upon, so that `kubectl apply` of many rules is few publications.
const QUIET: Duration = Duration::from_millis(30);
/// Longest wait while changes go on.
const QUIET_MAX: Duration = Duration::from_millis(300);
/// Changes taken at once.
const BATCH: usize = 512;
const CACHE: &str = "rules cache";

/// See the head of this file.
pub(super) struct Hub {
    context: Arc<Context>,
    index: Index,
    crew: Crew,
    desk: Desk,
    pipelines: BTreeMap<PipelineKey, Standing>,
    /// When a rule or its place last changed.
    changed: HashMap<String, StdInstant>,
    events: tell::Events,
    unsynced: usize,
    /// Whether all that there was at the beginning was acted upon.
    has_acted: bool,
    quiet: Option<(Instant, Instant)>,
}

impl Hub {
    /// Nothing seen yet; `unsynced` watches have yet to list what there is.
    pub(super) fn new(context: Arc<Context>, crew: Crew, unsynced: usize) -> Self {
        context.health.wait_for(CACHE, "AlertRules and MuttPipelines are not listed yet");
        Self {
            context,
            index: Index::default(),
            crew,
            desk: Desk::default(),
            pipelines: BTreeMap::new(),
            changed: HashMap::new(),
            events: tell::Events::default(),
            unsynced,
            has_acted: false,
            quiet: None,
        }
    }

    /// Runs until a task ends that should not.
    pub(super) async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        mut reports: mpsc::Receiver<Report>,
    ) -> Result<(), Error> {
        let mut seen = Vec::with_capacity(BATCH);
        loop {
            self.write_statuses();
            let act_at = self.quiet.filter(|_| self.unsynced == 0).map(|(quiet, latest)| quiet.min(latest));
            let look_at = self.desk.next_due();
            tokio::select! {
                biased;
                ended = self.crew.ended() => return Err(Error::Task(ended)),
                () = at(act_at) => self.act().await?,
                Some(report) = reports.recv() => self.heard(report),
                count = changes.recv_many(&mut seen, BATCH) => {
                    if count == 0 {
                        return Err(Error::Task("the watches ended".to_owned()));
                    }
                    for change in seen.drain(..) {
                        self.take(change);
                    }
                }
                written = self.desk.ended() => self.written(written),
                () = at(look_at) => self.desk.take_due(Instant::now()),
                Some(()) = self.events.ended() => {}
            }
        }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Rule(object) => self.index.apply_rule(*object),
            Change::RuleGone(name) => self.index.delete_rule(&name),
            Change::Pipeline(object) => self.index.apply_pipeline(*object),
            Change::PipelineGone(key) => self.index.delete_pipeline(&key),
            Change::Namespace(name, labels) => self.index.apply_namespace(&name, labels),
            Change::ConfigMap(key, seen) => return self.crew.seen(&key, seen),
            Change::Synced => self.unsynced = self.unsynced.saturating_sub(1),
        }
        self.soon();
    }

    fn soon(&mut self) {
        let now = Instant::now();
        let latest = self.quiet.map_or(now + QUIET_MAX, |(_, latest)| latest);
        self.quiet = Some((now + QUIET, latest));
    }

    /// Acts upon what changed.
    async fn act(&mut self) -> Result<(), Error> {
        self.quiet = None;
        let _work = self.context.health.begin("rules");
        self.judge().await?;
        let Changes { rules, restated, sets } = self.index.changes();
        let now = StdInstant::now();
        let mut look: BTreeSet<String> = restated;
        for name in &rules {
            if self.index.rule(name).is_some() {
                self.changed.insert(name.clone(), now);
            } else {
                self.changed.remove(name);
                self.desk.forget(name);
            }
        }
        look.extend(rules);
        let mut to_compare = Vec::new();
        for (key, set) in sets {
            match set {
                Some(set) => {
                    let set = Arc::new(set);
                    look.extend(self.feed(&key, &set, now));
                    to_compare.push((key, set));
                }
                None => self.end(&key),
            }
        }
        look.extend(self.find_shadows(to_compare).await?);
        for name in look {
            self.desk.look(&name);
        }
        self.context.health.done(CACHE);
        self.has_acted = true;
        Ok(())
    }

    /// Judges what changed, away from the runtime's threads: a regex may take milliseconds.
    async fn judge(&mut self) -> Result<(), Error> {
        let unjudged = self.index.unjudged();
        if unjudged.is_empty() {
            return Ok(());
        }
        let work = move || -> Vec<(String, (Verdict, Option<Form>))> {
            unjudged
                .into_iter()
                .map(|(name, spec)| {
                    let judged = judge(&name, &spec);
                    (name, judged)
                })
                .collect()
        };
        let judged = tokio::task::spawn_blocking(work).await.map_err(|error| Error::Task(error.to_string()))?;
        for (name, (verdict, form)) in judged {
            self.index.judged(&name, verdict, form);
        }
        Ok(())
    }

    /// Hands a set to its task. Returns the rules whose form changed.
    fn feed(&mut self, key: &PipelineKey, set: &Arc<PipelineSet>, now: StdInstant) -> Vec<String> {
        if set.withheld.is_some() {
            return self.withhold(key, set, now);
        }
        let is_started = self.crew.feed(key, Arc::clone(set));
        if is_started {
            // What statuses say of it counts if they were written before this hub began.
            let names = set.forms.iter().map(|form| form.name().to_owned()).chain(set.lost.iter().cloned());
            let trusted = if self.has_acted { BTreeSet::new() } else { names.collect() };
            self.pipelines.insert(key.clone(), Standing { trusted, ..Standing::default() });
        }
        let pipeline = self.pipelines.entry(key.clone()).or_default();
        pipeline.takes(set);
        let (index, own_name, trusted) = (&self.index, key.to_string(), &pipeline.trusted);
        let known = |rule: &str| -> Option<&PipelineBinding> {
            let status = &index.rule(rule).filter(|_| trusted.contains(rule))?.object.status;
            let active = status.conditions.iter().find(|condition| condition.type_ == "Active")?;
            // What was said before the pipeline was made is about another one of its name.
            let is_about_it = set.created.is_none_or(|created| created <= active.last_transition_time.0);
            status.pipelines.iter().find(|known| is_about_it && known.name == own_name)
        };
        let changed = pipeline.track.replace(set, now, known);
        // Last good forms that the task finds come later.
        pipeline.trusted.retain(|name| set.lost.contains(name));
        self.show(key);
        changed
    }

    /// Publishes nothing for a pipeline, and says why.
    fn withhold(&mut self, key: &PipelineKey, set: &Arc<PipelineSet>, now: StdInstant) -> Vec<String> {
        self.crew.end(key);
        let trouble = set.withheld.clone().map(Trouble::Cluster);
        let is_told = |known: &Standing| {
            known.report.as_ref().is_some_and(|report| report.uid == set.uid && report.trouble == trouble)
        };
        if !self.pipelines.get(key).is_some_and(is_told) {
            tracing::warn!(pipeline = %key, reason = set.withheld, "no rules are published");
            self.pipelines.insert(key.clone(), Standing::default());
        }
        let pipeline = self.pipelines.entry(key.clone()).or_default();
        pipeline.takes(set);
        let mut changed = pipeline.track.replace(set, now, |_| None);
        let alerters = Alerters { in_trouble: true, searched: true, ..Alerters::default() };
        changed.extend(pipeline.track.heard(alerters.clone()));
        pipeline.report = Some(Report {
            key: key.clone(),
            uid: set.uid.clone(),
            served: None,
            alerters,
            active: 0,
            laggards: Vec::new(),
            queues: None,
            trouble,
            found: Vec::new(),
        });
        self.show(key);
        changed
    }

    fn end(&mut self, key: &PipelineKey) {
        self.crew.end(key);
        self.pipelines.remove(key);
        self.context.rules.forget(key);
        self.context.metrics.forget_pipeline(&key.namespace, &key.name);
    }

    /// Finds rules that can never fire. Returns those of which that changed.
    async fn find_shadows(&mut self, sets: Vec<(PipelineKey, Arc<PipelineSet>)>) -> Result<BTreeSet<String>, Error> {
        if sets.is_empty() {
            return Ok(BTreeSet::new());
        }
        let work = move || sets.into_iter().map(|(key, set)| (key, tell::shadows(&set))).collect::<Vec<_>>();
        let found = tokio::task::spawn_blocking(work).await.map_err(|error| Error::Task(error.to_string()))?;
        let mut changed = BTreeSet::new();
        for (key, shadows) in found {
            let Some(pipeline) = self.pipelines.get_mut(&key) else { continue };
            let before = std::mem::replace(&mut pipeline.shadows, shadows);
            let names = before.keys().chain(pipeline.shadows.keys());
            changed.extend(names.filter(|name| before.get(*name) != pipeline.shadows.get(*name)).cloned());
        }
        Ok(changed)
    }

    /// Takes in what a task tells.
    fn heard(&mut self, report: Report) {
        if !self.crew.is_current(&report.key, &report.uid) {
            return;
        }
        for found in &report.found {
            tracing::info!(rule = found.0.name(), "last accepted form recovered");
            self.index.recover(&found.0);
        }
        if !report.found.is_empty() {
            self.soon();
        }
        let key = report.key.clone();
        let Some(pipeline) = self.pipelines.get_mut(&key) else { return };
        let before = pipeline.report.as_ref().and_then(|before| before.trouble.as_ref());
        if before != report.trouble.as_ref() {
            if let Some(reason) = &report.trouble {
                tracing::warn!(pipeline = %key, %reason, "rules cannot be brought to their alerters");
            } else {
                tracing::info!(pipeline = %key, "the way to the alerters is open");
            }
        }
        let was_searched = pipeline.report.as_ref().is_some_and(|before| before.alerters.searched);
        for name in pipeline.track.heard(report.alerters.clone()) {
            self.desk.look(&name);
        }
        let is_searched = report.alerters.searched;
        pipeline.report = Some(report);
        if is_searched && !was_searched {
            // Of rejected rules it is known now whether anything is served.
            let index = &self.index;
            let rejected = index.rule_names().filter(|name| {
                index.rule(name).is_some_and(|rule| rule.pipelines.contains(&key) && !rule.is_accepted())
            });
            rejected.for_each(|name| self.desk.look(name));
        }
        self.show(&key);
    }

    /// Shows the pipeline half and Prometheus what is known.
    fn show(&self, key: &PipelineKey) {
        let Some(pipeline) = self.pipelines.get(key) else { return };
        self.context.metrics.set_rules(
            &key.namespace,
            &key.name,
            pipeline.accepted,
            pipeline.rejected,
            pipeline.active(),
        );
        if let Some(state) = pipeline.state() {
            self.context.rules.set(key, state);
        }
    }

    fn written(&mut self, written: Written) {
        if let Some((status, version)) = written.now {
            self.index.set_status(&written.name, &written.uid, status, version);
            // What changed meanwhile.
            self.desk.look(&written.name);
        }
    }

    /// Looks at statuses whose turn it is.
    fn write_statuses(&mut self) {
        if self.unsynced > 0 {
            return;
        }
        while let Some(name) = self.desk.next() {
            self.look_at(&name);
        }
    }

    fn look_at(&mut self, name: &str) {
        let Some(entry) = self.index.rule(name) else { return };
        // An object that cannot be read cannot be written either; an Event says so.
        let (Some(verdict), now, std_now) = (&entry.verdict, Instant::now(), StdInstant::now()) else { return };
        tell::rejected(&self.context, &mut self.events, entry, verdict);
        if entry.object.spec.is_err() || self.desk.is_writing(name) {
            return;
        }
        let facts = Facts {
            object: &entry.object,
            verdict,
            bindings: entry
                .pipelines
                .iter()
                .filter_map(|key| Some((key.to_string(), self.pipelines.get(key)?.track.binding(name))))
                .collect(),
            shadow: entry.pipelines.iter().find_map(|key| {
                let by = self.pipelines.get(key)?.shadows.get(name)?;
                Some((by.clone(), key.to_string()))
            }),
            changed: self.changed.get(name).copied().unwrap_or(std_now),
        };
        let waits = facts.bindings.iter().filter_map(|(_, binding)| match &binding.use_ {
            Use::Waiting(waiting) => Some(waiting.since),
            _ => None,
        });
        let next = waits.min().map(|since| next_look(since, std_now));
        match decide(&facts, std_now, k8s_openapi::jiff::Timestamp::now()) {
            Decision::Wait(until) => self.desk.look_at(name, now + until.saturating_duration_since(std_now)),
            Decision::Be(status) => {
                if *status != entry.object.status {
                    self.desk.write(&self.context.client, name, &entry.object.uid, &status);
                }
                if let Some(next) = next {
                    self.desk.look_at(name, now + next.saturating_duration_since(std_now));
                }
            }
        }
    }
}

/// When a rule that waits is worth another look: after the hold, when laggards are named, and now and then since they
/// may be others.
fn next_look(since: StdInstant, now: StdInstant) -> StdInstant {
    [since + HOLD, since + LAG].into_iter().find(|at| *at > now).unwrap_or(now + LAG)
}

async fn at(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
