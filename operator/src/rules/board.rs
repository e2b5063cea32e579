//! What the rules half knows about each pipeline, for the pipeline half: read in its fetch step, which is run again when
//! something changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;
use tokio::sync::watch;

/// A pipeline's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl PipelineKey {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for PipelineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Lengths of a pipeline's queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepths {
    /// Events that wait for an alerter.
    pub ingest: i64,
    /// Alerts that wait for a forwarder.
    pub alert: i64,
    /// Alerts that wait for a retry.
    pub delayed: i64,
    /// Refused items of batches.
    pub dlq_ingest: i64,
    /// Events that the alerters could not process.
    pub dlq_alerter: i64,
    /// Alerts that could not be delivered.
    pub dlq_moog: i64,
    /// What was replayed three times in vain.
    pub dlq_dead: i64,
}

impl QueueDepths {
    /// Dead letters of all kinds.
    pub fn dead_letters(&self) -> i64 {
        self.dlq_ingest + self.dlq_alerter + self.dlq_moog + self.dlq_dead
    }
}

/// What is known about the rules of one pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RulesState {
    /// UID of the MuttPipeline that this is about; of another one of the same name nothing is known yet.
    pub uid: String,
    /// SHA-256 of the rule set that Redis serves; none before the first publication.
    pub revision: Option<String>,
    /// Its sequence number.
    pub sequence: u64,
    /// Selected rules that compile and pass their tests.
    pub accepted: usize,
    /// Selected rules that do not; an earlier form of them may be in use.
    pub rejected: usize,
    /// Accepted rules that all live alerters use.
    pub active: usize,
    /// Alerters that use this revision.
    pub alerters_active: usize,
    /// Alerters with a live heartbeat.
    pub alerters_alive: usize,
    /// Live alerters that do not use this revision yet, by name.
    pub laggards: Vec<String>,
    /// Depths of the queues, read every 30 s; none before the first reading or while Redis does not answer.
    pub queues: Option<QueueDepths>,
    /// What is wrong with Redis or on the way to it, in words, with what to do; none = nothing.
    pub redis_error: Option<String>,
    /// What is wrong in Kubernetes on the way to Redis (a missing Secret or key, a ConfigMap that cannot be written); none = nothing.
    pub cluster_error: Option<String>,
    /// Why a selector cannot be read; the rules that were selected before stay in use. None = nothing.
    pub selector_error: Option<String>,
    /// When this was known.
    pub at: Timestamp,
}

impl RulesState {
    /// `2/2`: alerters that use the revision, of all live ones.
    pub fn alerters(&self) -> String {
        format!("{}/{}", self.alerters_active, self.alerters_alive)
    }

    /// The first twelve digits of the revision, for people.
    pub fn short_revision(&self) -> &str {
        self.revision.as_deref().map_or("", |revision| revision.get(..12).unwrap_or(revision))
    }

    fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { at: self.at, ..other.clone() }
    }
}

/// State and the version of the board at which it said something new.
type States = BTreeMap<PipelineKey, (u64, Arc<RulesState>)>;

/// The states of all pipelines. Clones share them.
#[derive(Debug, Clone)]
pub struct RulesBoard {
    states: Arc<Mutex<States>>,
    version: Arc<watch::Sender<u64>>,
}

impl Default for RulesBoard {
    fn default() -> Self {
        Self { states: Arc::default(), version: Arc::new(watch::channel(0).0) }
    }
}

impl RulesBoard {
    /// What is known about the pipeline with this name and UID.
    pub fn get(&self, namespace: &str, name: &str, uid: &str) -> Option<Arc<RulesState>> {
        let (_, state) = self.lock().get(&PipelineKey::new(namespace, name))?.clone();
        (state.uid == uid).then_some(state)
    }

    /// Sets what is known; tells who waits for changes, if it says something new.
    pub fn set(&self, key: &PipelineKey, state: RulesState) {
        {
            let mut states = self.lock();
            let version = match states.get(key) {
                Some((version, known)) if known.says_the_same(&state) => *version,
                _ => *self.version.borrow() + 1,
            };
            states.insert(key.clone(), (version, Arc::new(state)));
            // Under the lock, so that two writers do not take the same number.
            self.version.send_if_modified(|current| std::mem::replace(current, version.max(*current)) < version);
        }
    }

    /// The pipeline is gone.
    pub fn forget(&self, key: &PipelineKey) {
        self.lock().remove(key);
    }

    /// The term has ended: another replica may know more soon.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The pipelines whose state says something new, from now on: for `Controller::reconcile_on`. A reader that is slow
    /// sees a pipeline once for several changes.
    pub fn changes(&self) -> impl Stream<Item = PipelineKey> + Send + use<> {
        let (board, mut version) = (self.clone(), self.version.subscribe());
        let seen = *version.borrow_and_update();
        let steps = stream::unfold((board, version, seen), |(board, mut version, seen)| async move {
            version.changed().await.ok()?;
            let now = *version.borrow_and_update();
            let keys = board.newer_than(seen);
            Some((stream::iter(keys), (board, version, now)))
        });
        steps.flatten()
    }

    fn newer_than(&self, seen: u64) -> Vec<PipelineKey> {
        self.lock().iter().filter(|(_, (version, _))| *version > seen).map(|(key, _)| key.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn state(uid: &str, sequence: u64) -> RulesState {
        RulesState { uid: uid.to_owned(), sequence, ..RulesState::default() }
    }

    #[tokio::test]
    async fn only_what_says_something_new_is_told() {
        let board = RulesBoard::default();
        let (core, edge) = (PipelineKey::new("netops", "core"), PipelineKey::new("netops", "edge"));
        board.set(&core, state("u1", 1));
        let mut changes = Box::pin(board.changes());
        assert!(changes.next().now_or_never().is_none(), "what was there before is no change");
        board.set(&core, RulesState { at: Timestamp::UNIX_EPOCH, ..state("u1", 1) });
        assert!(changes.next().now_or_never().is_none(), "a later time is no news");
        board.set(&edge, state("u2", 1));
        board.set(&edge, state("u2", 2));
        assert_eq!(changes.next().await, Some(edge.clone()));
        assert!(changes.next().now_or_never().is_none(), "two changes before a look are one");
        board.set(&core, state("u1", 2));
        assert_eq!(changes.next().await, Some(core));
        assert_eq!(board.get("netops", "edge", "u2").unwrap().sequence, 2);
        assert_eq!(board.get("netops", "edge", "another"), None, "a new pipeline of the same name");
        board.forget(&edge);
        assert_eq!(board.get("netops", "edge", "u2"), None);
        board.clear();
        assert_eq!(board.get("netops", "core", "u1"), None);
    }
}
