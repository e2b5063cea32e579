//! One task per pipeline: brings its rule set into Redis and hears what the alerters say. Its troubles are its own.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use mutt_queue::served_rules::{self, Published, Served};
use mutt_queue::{Notice, Subscription, Totals};
use mutt_rules::{Revision, RuleSet};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::acks::Alerters;
use super::board::QueueDepths;
use super::copier::{Copier, CopierHandle};
use super::index::PipelineSet;
use super::last_good;
use super::publish::{Step, next_step};
use super::record::{Owner, Record, RecordError};
use super::redis::{Connection, Login, Trouble, login};
use super::report::{Found, Known, Report, SeenConfigMap};
use super::retry::Retry;
use crate::runtime::Context;
use crate::runtime::metrics::Outcome;

/// How often Redis is compared with what it should serve: a flushed one must be refilled within 5 s.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// How often Secrets are read again and queues are measured.
const REFRESH_EVERY: Duration = Duration::from_secs(30);
/// How soon Secrets are read again while Redis does not answer as it should.
const RETRY_LOGIN: Duration = Duration::from_secs(5);
/// Tries to publish within one pass; each needs a writer that was faster.
const TRIES_MAX: usize = 4;

/// One pipeline's task.
pub(super) struct Task {
    context: Arc<Context>,
    client: Client,
    owner: Owner,
    sets: watch::Receiver<Arc<PipelineSet>>,
    seen: mpsc::UnboundedReceiver<SeenConfigMap>,
    reports: mpsc::Sender<Report>,
    copies: watch::Sender<Option<Arc<PipelineSet>>>,
    copier: CopierHandle,
    login: Option<Login>,
    login_trouble: Option<Trouble>,
    connection: Option<Connection>,
    acks: Option<Subscription>,
    record: Option<Record>,
    ready: Option<Ready>,
    /// Newest set of each revision that was published.
    published: HashMap<String, u64>,
    served: Option<(String, u64)>,
    searched: bool,
    /// Last good forms that were found and that the set does not have yet.
    found: BTreeSet<String>,
    queues: Option<QueueDepths>,
    refresh_at: Instant,
    retry: Retry,
    told: Option<Report>,
}

/// The set to be served.
struct Ready {
    version: u64,
    revision: Revision,
    set: Arc<PipelineSet>,
    /// Its document, until it is published.
    text: Option<String>,
}

impl Task {
    /// Runs a pipeline's task until `sets` is closed.
    pub(super) async fn run(
        context: Arc<Context>,
        owner: Owner,
        sets: watch::Receiver<Arc<PipelineSet>>,
        seen: mpsc::UnboundedReceiver<SeenConfigMap>,
        reports: mpsc::Sender<Report>,
    ) {
        let client = context.client.clone();
        let (copies, to_copy) = watch::channel(None);
        let (keeper, handle) = Copier::new(&client, owner.clone(), to_copy);
        let task = Self {
            context,
            client,
            owner,
            sets,
            seen,
            reports,
            copies,
            copier: handle,
            login: None,
            login_trouble: None,
            connection: None,
            acks: None,
            record: None,
            ready: None,
            published: HashMap::new(),
            served: None,
            searched: false,
            found: BTreeSet::new(),
            queues: None,
            refresh_at: Instant::now(),
            retry: Retry::default(),
            told: None,
        };
        tokio::select! {
            () = task.publish() => {}
            _ = keeper.run() => {}
        }
    }

    async fn publish(mut self) {
        let mut compare = interval(COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.sets.mark_changed();
        loop {
            tokio::select! {
                biased;
                changed = self.sets.changed() => if changed.is_err() { return },
                seen = self.seen.recv() => match seen {
                    Some(seen) => if !self.tampered(&seen) { continue },
                    None => return,
                },
                () = said(self.acks.as_mut()) => {}
                _ = compare.tick() => {}
            }
            let set = self.sets.borrow_and_update().clone();
            let (outcome, found) = self.counted_pass(&set).await;
            if self.tell(outcome, found).await.is_err() {
                return;
            }
        }
    }

    /// A pass is counted as a reconcile until it has brought a new set where it belongs.
    async fn counted_pass(&mut self, set: &Arc<PipelineSet>) -> (Result<Served, Trouble>, Vec<Found>) {
        if self.is_published() {
            return self.pass(set).await;
        }
        let (context, before) = (Arc::clone(&self.context), self.served.clone());
        let counted = context.reconciling("rules");
        let (outcome, found) = self.pass(set).await;
        match &outcome {
            Err(_) => counted.end(Outcome::Error),
            Ok(_) if self.served == before => counted.end(Outcome::Unchanged),
            Ok(_) => counted.end(Outcome::Changed),
        }
        (outcome, found)
    }

    /// Whether the record was changed by somebody else.
    fn tampered(&mut self, seen: &SeenConfigMap) -> bool {
        self.copier.seen(&seen.name, seen.resource_version.as_deref());
        let Some(record) = self.record.take_if(|record| record.name() == seen.name) else { return false };
        if record.resource_version() == seen.resource_version.as_deref() {
            self.record = Some(record);
            return false;
        }
        true
    }

    /// One look at everything, and what follows from it.
    async fn pass(&mut self, set: &Arc<PipelineSet>) -> (Result<Served, Trouble>, Vec<Found>) {
        let now = Instant::now();
        let mut found = Vec::new();
        if let Some(trouble) = self.retry.waits(now) {
            return (Err(trouble), found);
        }
        let is_refresh = now >= self.refresh_at;
        if is_refresh {
            self.refresh_at = now + REFRESH_EVERY;
        }
        let outcome = match self.connect(set, is_refresh).await {
            Ok(connection) => {
                if is_refresh {
                    self.queues = depths(&connection).await;
                }
                self.serve(set, &connection, &mut found).await
            }
            Err(trouble) => Err(trouble),
        };
        match &outcome {
            Err(trouble @ Trouble::Cluster(_)) => self.retry.failed(trouble.clone()),
            Err(Trouble::Redis(_)) => {
                // Perhaps for its password; a new one is taken up soon.
                self.refresh_at = self.refresh_at.min(now + RETRY_LOGIN);
                self.retry = Retry::default();
            }
            Ok(_) => self.retry = Retry::default(),
        }
        (outcome, found)
    }

    async fn connect(&mut self, set: &PipelineSet, is_refresh: bool) -> Result<Connection, Trouble> {
        let spec = &set.settings.redis;
        if is_refresh || self.login.is_none() || self.login_trouble.is_some() || !self.fits(spec) {
            match login(&self.client, &self.owner.key.namespace, spec).await {
                Ok(login) => (self.login, self.login_trouble) = (Some(login), None),
                // What works already goes on working.
                Err(trouble) if self.fits(spec) => self.login_trouble = Some(trouble),
                Err(trouble) => return Err(trouble),
            }
        }
        if !self.fits(spec) {
            let connection = Connection::new(spec, self.login.clone().unwrap_or_default())?;
            self.acks = Some(connection.redis.subscribe([connection.keys.rules_ack.clone()]));
            self.connection = Some(connection);
            self.queues = None;
            // Another Redis: what alerters say there is about other sets.
            self.published.clear();
        }
        self.connection.clone().ok_or_else(|| Trouble::Redis("not connected".to_owned()))
    }

    fn fits(&self, spec: &mutt_crds::pipeline::RedisSpec) -> bool {
        let login = self.login.as_ref();
        self.connection.as_ref().is_some_and(|connection| login.is_some_and(|login| connection.fits(spec, login)))
    }

    /// Brings the set into Redis.
    async fn serve(
        &mut self,
        set: &Arc<PipelineSet>,
        connection: &Connection,
        found: &mut Vec<Found>,
    ) -> Result<Served, Trouble> {
        if !self.searched {
            *found = last_good::search(&self.client, &self.owner, &set.lost, connection).await?;
            self.searched = true;
            self.found = found.iter().map(|found| found.0.name().to_owned()).collect();
        }
        // A set without them would take them out of use; the next one has them.
        if !self.found.is_disjoint(&set.lost) {
            return self.read(connection, "").await;
        }
        self.found.clear();
        if self.ready.as_ref().is_none_or(|ready| ready.version != set.version) {
            let text = text(set);
            let revision = Revision::of(&text);
            self.ready = Some(Ready { version: set.version, revision, set: Arc::clone(set), text: Some(text) });
        }
        for _ in 0..TRIES_MAX {
            let Some(ready) = &self.ready else { break };
            let (revision, version, set) = (ready.revision.to_string(), ready.version, Arc::clone(&ready.set));
            let served = self.read(connection, &revision).await?;
            let step = self.step(&served, &revision).await?;
            let (number, is_new) = match step {
                Step::Nothing => {
                    if let Some(ready) = &mut self.ready {
                        ready.text = None;
                    }
                    self.is_served(&revision, served.sequence, version, set);
                    return Ok(served);
                }
                Step::Record(number) => {
                    self.write_record(number, &revision).await?;
                    continue;
                }
                Step::Restore(number) => (number, false),
                Step::Publish(number) => (number, true),
            };
            if is_new && !self.write_record(number, &revision).await? {
                continue;
            }
            // Known before the first acknowledgement can come.
            self.published.insert(revision.clone(), version);
            let text = self.ready.as_mut().and_then(|ready| ready.text.take()).unwrap_or_else(|| text(&set));
            let published = served_rules::publish(&connection.redis, &connection.keys, number, &revision, &text);
            match published.await.map_err(|error| connection.trouble(&error))? {
                Published::Current => tracing::info!(
                    pipeline = %self.owner.key, sequence = number, revision, rules = set.forms.len(),
                    "rules published"
                ),
                Published::Outdated(held) => tracing::info!(pipeline = %self.owner.key, number, held, "redis is ahead"),
            }
        }
        Err(self.outrun().await)
    }

    /// Why no try to publish came to its end.
    async fn outrun(&self) -> Trouble {
        match Record::read(&self.client, &self.owner).await {
            Ok(record) if record.is_leaving() => {
                Trouble::Cluster(format!("the ConfigMap {} is being deleted", record.name()))
            }
            Ok(_) => Trouble::Cluster("somebody else publishes rules for this pipeline at the same time".to_owned()),
            Err(error) => cluster(error),
        }
    }

    async fn read(&self, connection: &Connection, revision: &str) -> Result<Served, Trouble> {
        let served = Served::read(&connection.redis, &connection.keys, revision).await;
        served.map_err(|error| connection.trouble(&error))
    }

    async fn step(&mut self, served: &Served, revision: &str) -> Result<Step, Trouble> {
        let record = match self.record.take() {
            Some(record) => record,
            None => Record::read(&self.client, &self.owner).await.map_err(cluster)?,
        };
        let step = next_step(record.content(), served, revision);
        self.record = Some(record);
        Ok(step)
    }

    /// False if somebody else was faster: look again.
    async fn write_record(&mut self, number: u64, revision: &str) -> Result<bool, Trouble> {
        let Some(mut record) = self.record.take() else { return Ok(false) };
        match record.write(number, revision).await {
            Ok(()) => {
                self.record = Some(record);
                Ok(true)
            }
            Err(RecordError::Conflict) => Ok(false),
            Err(error) => Err(cluster(error)),
        }
    }

    fn is_served(&mut self, revision: &str, sequence: u64, version: u64, set: Arc<PipelineSet>) {
        self.published.insert(revision.to_owned(), version);
        if self.published.len() > 256 {
            // Alerters that far behind count as being so anyway.
            self.published.retain(|_, known| *known + 128 > version);
        }
        self.served = Some((revision.to_owned(), sequence));
        self.copies.send_if_modified(|copied| {
            let is_new = copied.as_ref().is_none_or(|copied| copied.version != set.version);
            *copied = Some(set);
            is_new
        });
    }

    async fn tell(&mut self, outcome: Result<Served, Trouble>, found: Vec<Found>) -> Result<(), ()> {
        let is_published = self.is_published();
        let known = Known {
            served: self.served.clone(),
            published: &self.published,
            searched: self.searched && self.found.is_empty(),
            queues: self.queues,
        };
        let report = match (outcome, &self.told) {
            (Ok(served), _) => {
                let in_trouble = !is_published && self.login_trouble.is_some();
                let trouble = self.login_trouble.clone().or_else(|| self.copier.trouble());
                Report::of(&self.owner, &known, &served, in_trouble, trouble)
            }
            // What was heard last; Redis does not say more.
            (Err(trouble), Some(told)) => Report {
                alerters: Alerters { in_trouble: !is_published, ..told.alerters.clone() },
                queues: None,
                trouble: Some(trouble),
                ..told.clone()
            },
            (Err(trouble), None) => Report::of(&self.owner, &known, &Served::default(), true, Some(trouble)),
        };
        if self.told.as_ref() == Some(&report) && found.is_empty() {
            return Ok(());
        }
        self.told = Some(report.clone());
        self.reports.send(Report { found, ..report }).await.map_err(drop)
    }

    fn is_published(&self) -> bool {
        let version = self.sets.borrow().version;
        self.served.as_ref().is_some_and(|(revision, _)| self.published.get(revision) == Some(&version))
    }
}

/// The canonical document of a set.
fn text(set: &PipelineSet) -> String {
    let rules: Vec<&RawValue> = set.forms.iter().map(|form| &*form.json).collect();
    RuleSet::join_canonical_json(&rules, &set.settings.development_hosts, &set.settings.teams)
}

#[allow(clippy::needless_pass_by_value, reason = "a map_err")]
fn cluster(error: RecordError) -> Trouble {
    Trouble::Cluster(error.to_string())
}

/// The next acknowledgement, or the moment at which some may have been missed.
async fn said(acks: Option<&mut Subscription>) {
    match acks {
        Some(acks) => match acks.next().await {
            Notice::Message { .. } | Notice::Resubscribed => {}
        },
        None => std::future::pending().await,
    }
}

async fn depths(connection: &Connection) -> Option<QueueDepths> {
    Totals::read(&connection.redis, &connection.keys).await.ok().map(|totals| QueueDepths::from(&totals))
}
