//! Keeps the rule set in use equal to its source: notices changes, builds off the hot path, swaps, acknowledges.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use mutt_queue::{Keys, Notice, Redis, WorkerId, served_rules};
use mutt_rules::{Compiled, Event, Scratch};
use tokio::sync::{Notify, oneshot};
use tokio::time::MissedTickBehavior;

use super::dir::{self, Directory};
use super::{Active, Loaded, RuleSourceError, Source, ack, bundle, postgres};

/// What happened, for the metrics.
pub(crate) trait KeeperEvents: Send + Sync {
    /// A rule set came into use after this time of reading and building.
    fn reloaded(&self, active: &Active, took: Duration);
    /// A rule set could not be read or built; the one in use stays.
    fn failed(&self, error: &RuleSourceError);
    /// Whether Redis names another revision than the one in use; said at each look that could tell.
    fn behind(&self, behind: bool);
}

/// Ways to make the keeper look, from any thread.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    compare: Notify,
    reload: Notify,
    reload_all: AtomicBool,
}

impl Triggers {
    /// Redis named a revision that is not in use.
    pub(crate) fn compare(&self) {
        self.compare.notify_one();
    }

    /// Read everything again, whatever the revision says (SIGHUP).
    pub(crate) fn reload(&self) {
        self.reload_all.store(true, Ordering::Release);
        self.reload.notify_one();
    }
}

/// The task that keeps the rules. Lives on the worker's second thread.
pub(crate) struct Keeper<E> {
    /// The record.
    pub source: Source,
    /// A connection of this thread.
    pub redis: Redis,
    /// Names.
    pub keys: Arc<Keys>,
    /// Who acknowledges.
    pub worker: WorkerId,
    /// The rule set in use; none before the first verified one.
    pub active: Arc<ArcSwapOption<Active>>,
    /// See [`Triggers`].
    pub triggers: Arc<Triggers>,
    /// How often the source is asked for changes.
    pub poll_interval: Duration,
    /// How often everything is read again.
    pub full_interval: Duration,
    /// Takes what happened.
    pub events: E,
}

/// What Redis says about the current revision.
enum Named {
    Revision(String),
    Nothing,
    /// Redis does not answer.
    Unknown,
}

/// What the keeper remembers between looks.
#[derive(Default)]
struct Memory {
    directory: Directory,
    /// Counter of PostgreSQL or fingerprint of the directory at the last reading.
    mark: Option<i64>,
    /// Revisions in Redis that are not ours and that the source does not explain: told once, not followed.
    foreign: Option<String>,
    /// Whether Redis knows what is in use.
    acknowledged: bool,
    /// Whether other workers are still to be told of a change that this one saw.
    unannounced: bool,
}

impl<E: KeeperEvents> Keeper<E> {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let mut memory = Memory::default();
        let mut published = self.redis.subscribe(self.keys.reload_channels());
        let mut poll = tokio::time::interval(self.poll_interval);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut full = tokio::time::interval(self.full_interval);
        full.reset();
        loop {
            let all = tokio::select! {
                notice = published.next() => match notice {
                    Notice::Message { payload, .. } if self.in_use(&payload) => continue,
                    // MUTT 2.x publishes any text when it changed a rule: look at the source itself.
                    Notice::Message { .. } => true,
                    Notice::Resubscribed => false,
                },
                () = self.triggers.compare.notified() => false,
                () = self.triggers.reload.notified() => self.triggers.reload_all.swap(false, Ordering::AcqRel),
                _ = poll.tick() => false,
                _ = full.tick() => true,
            };
            self.look(&mut memory, all).await;
        }
    }

    fn in_use(&self, revision: &[u8]) -> bool {
        self.active.load().as_ref().is_some_and(|active| active.revision.as_str().as_bytes() == revision)
    }

    async fn look(&self, memory: &mut Memory, all: bool) {
        // A worker that stood still for a while may have been taken for dead, and what it said removed.
        memory.acknowledged &= !all;
        let named = match served_rules::current(&self.redis, &self.keys).await {
            Ok(Some(revision)) => Named::Revision(revision),
            Ok(None) => Named::Nothing,
            Err(_) => Named::Unknown,
        };
        let differs = matches!(&named, Named::Revision(revision)
            if !self.in_use(revision.as_bytes()) && memory.foreign.as_ref() != Some(revision));
        // Before the reading, which may take long or fail; a revision that the source does not explain is behind, too.
        match &named {
            Named::Revision(revision) => self.events.behind(!self.in_use(revision.as_bytes())),
            Named::Nothing => self.events.behind(false),
            Named::Unknown => {}
        }
        let started = Instant::now();
        match self.read_if_changed(memory, all || differs).await {
            Ok(None) => {}
            Ok(Some(loaded)) => match self.build(loaded).await {
                Ok(active) => self.put_in_use(memory, active, started.elapsed()),
                Err(error) => return self.failed(memory, &error),
            },
            Err(error) => return self.failed(memory, &error),
        }
        if matches!(&named, Named::Revision(revision) if self.in_use(revision.as_bytes())) {
            self.events.behind(false);
        }
        self.tell(memory, named).await;
    }

    fn failed(&self, memory: &mut Memory, error: &RuleSourceError) {
        // The next poll tries again.
        memory.mark = None;
        tracing::warn!(%error, in_use = self.active.load().is_some(), "rules could not be read; what is in use stays");
        self.events.failed(error);
    }

    async fn read_if_changed(&self, memory: &mut Memory, anyway: bool) -> Result<Option<Loaded>, RuleSourceError> {
        let first = self.active.load().is_none();
        match &self.source {
            Source::Postgres(pool) => {
                if !anyway && !first && memory.mark == Some(postgres::counter(pool).await?) {
                    return Ok(None);
                }
                let loaded = postgres::load(pool).await?;
                memory.mark = Some(loaded.counter);
                Ok(Some(loaded))
            }
            Source::Directory(path) => {
                let mark = dir::fingerprint(path)?.cast_signed();
                if !anyway && !first && memory.mark == Some(mark) {
                    return Ok(None);
                }
                memory.mark = Some(mark);
                let (path, mut directory) = (path.clone(), std::mem::take(&mut memory.directory));
                // Thousands of files take seconds to parse; leases are renewed meanwhile.
                let parsed = tokio::task::spawn_blocking(move || {
                    let loaded = directory.load(&path);
                    (directory, loaded)
                });
                let (directory, loaded) = parsed.await.map_err(|error| RuleSourceError::Build(error.to_string()))?;
                memory.directory = directory;
                loaded.map(Some)
            }
            Source::Redis if anyway || first => bundle::load(&self.redis, &self.keys).await.map(Some),
            Source::Redis => Ok(None),
        }
    }

    /// Compiles and tries a rule set on a thread of its own, so that leases are renewed meanwhile. The thread ends with
    /// it: one that is kept for later work would keep the memory that compiling took and gave back, too.
    async fn build(&self, loaded: Loaded) -> Result<Active, RuleSourceError> {
        let failed = |error: &dyn std::fmt::Display| RuleSourceError::Build(error.to_string());
        let previous = self.active.load_full();
        let (done, built) = oneshot::channel();
        let thread = thread::Builder::new().name("rules".to_owned());
        let work = move || drop(done.send(build(&loaded, previous.as_deref())));
        thread.spawn(work).map_err(|error| failed(&error))?;
        built.await.map_err(|error| failed(&error))
    }

    fn put_in_use(&self, memory: &mut Memory, active: Active, took: Duration) {
        let before = self.active.load_full();
        let changed = before.as_ref().is_none_or(|before| before.revision != active.revision);
        let told: HashSet<&str> =
            before.iter().flat_map(|before| &before.errors).map(|error| error.reason.as_str()).collect();
        for error in active.errors.iter().filter(|error| !told.contains(error.reason.as_str())) {
            tracing::warn!(
                rule = error.rule,
                reason = error.reason,
                last_good_in_use = error.last_good_in_use,
                "rule is not in use as written"
            );
        }
        if changed {
            tracing::info!(
                revision = active.revision.short(),
                rules = active.compiled.rules().len(),
                errors = active.errors.len(),
                took_ms = took.as_millis() as u64,
                "rules in use"
            );
        }
        let same_errors = before.is_some_and(|before| before.errors == active.errors);
        memory.acknowledged &= !changed && same_errors;
        memory.unannounced |= changed;
        let active = Arc::new(active);
        self.active.store(Some(Arc::clone(&active)));
        self.events.reloaded(&active, took);
    }

    /// Tells Redis: the revision, if this worker saw a change first, and that it is in use here.
    async fn tell(&self, memory: &mut Memory, named: Named) {
        let Some(active) = self.active.load_full() else { return };
        let is_named = matches!(&named, Named::Revision(revision) if revision == active.revision.as_str());
        match named {
            Named::Unknown => {
                memory.acknowledged = false;
                return;
            }
            _ if is_named || matches!(self.source, Source::Redis) => memory.unannounced = false,
            Named::Revision(foreign) if !memory.unannounced => memory.foreign = Some(foreign),
            // The next poll tries again what fails.
            Named::Nothing | Named::Revision(_) => {
                memory.unannounced =
                    served_rules::announce(&self.redis, &self.keys, active.revision.as_str()).await.is_err();
            }
        }
        if !memory.acknowledged {
            memory.acknowledged = ack::acknowledge(&self.redis, &self.keys, &self.worker, &active).await.is_ok();
        }
    }
}

fn build(loaded: &Loaded, previous: Option<&Active>) -> Active {
    let compiled = Compiled::build(&loaded.set, previous.map(|previous| &previous.compiled));
    probe(loaded, &compiled);
    let reasons = |rule: &mutt_rules::RuleError| {
        let known = loaded.unreadable.iter().find(|unreadable| unreadable.id.is_some() && unreadable.id == rule.id);
        known.map_or_else(|| rule.reason.clone(), |known| known.reason.clone())
    };
    let mut errors: Vec<mutt_rules::RuleError> = compiled
        .errors()
        .iter()
        .map(|error| mutt_rules::RuleError { reason: reasons(error), ..error.clone() })
        .collect();
    errors.extend(loaded.unreadable.iter().filter(|unreadable| unreadable.id.is_none()).cloned());
    Active { compiled, revision: loaded.revision.clone(), errors }
}

/// Lets the new set decide some events before it counts: lazily built automata are warm, and a set that cannot
/// decide at all never comes into use.
fn probe(loaded: &Loaded, compiled: &Compiled) {
    let mut scratch = Scratch::default();
    let own = loaded.set.rules().iter().flat_map(|rule| &rule.spec.tests).take(100);
    for test in own {
        compiled.decide(&Event::from(&test.event), &mut scratch);
    }
    let plain = Event {
        hostname: "probe",
        message: "%LINK-3-UPDOWN: Interface Gi0/1, changed state to down",
        ..Event::default()
    };
    compiled.decide(&plain, &mut scratch);
    compiled.decide(&Event { message: "größter Übertragungsfehler", ..plain }, &mut scratch);
    compiled.decide(&Event { trap_oid: Some("1.3.6.1.6.3.1.1.5.3"), ..plain }, &mut scratch);
}
