//! The tasks of all pipelines: started, fed, ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinSet};

use super::board::PipelineKey;
use super::index::PipelineSet;
use super::record::Owner;
use super::report::{Report, SeenConfigMap};
use super::task::Task;
use crate::runtime::Context;

/// All tasks.
pub(super) struct Crew {
    context: Arc<Context>,
    reports: mpsc::Sender<Report>,
    members: BTreeMap<PipelineKey, Member>,
    tasks: JoinSet<()>,
    names: HashMap<Id, PipelineKey>,
}

struct Member {
    uid: String,
    sets: watch::Sender<Arc<PipelineSet>>,
    seen: mpsc::UnboundedSender<SeenConfigMap>,
    abort: AbortHandle,
}

impl Crew {
    /// No task yet; reports go to `reports`.
    pub(super) fn new(context: Arc<Context>, reports: mpsc::Sender<Report>) -> Self {
        Self { context, reports, members: BTreeMap::new(), tasks: JoinSet::new(), names: HashMap::new() }
    }

    /// Gives a pipeline's task its set; starts the task where there is none. True if it was started.
    pub(super) fn feed(&mut self, key: &PipelineKey, set: Arc<PipelineSet>) -> bool {
        if let Some(member) = self.members.get(key).filter(|member| member.uid == set.uid) {
            member.sets.send_replace(set);
            return false;
        }
        self.end(key);
        let uid = set.uid.clone();
        let owner = Owner { key: key.clone(), uid: uid.clone() };
        let (sets, to_publish) = watch::channel(set);
        let (seen, to_see) = mpsc::unbounded_channel();
        let task = Task::run(Arc::clone(&self.context), owner, to_publish, to_see, self.reports.clone());
        let abort = self.tasks.spawn(task);
        self.names.insert(abort.id(), key.clone());
        self.members.insert(key.clone(), Member { uid, sets, seen, abort });
        true
    }

    /// Tells a pipeline's task what was seen of its ConfigMaps.
    pub(super) fn seen(&self, key: &PipelineKey, seen: SeenConfigMap) {
        if let Some(member) = self.members.get(key) {
            // A task that has ended is noticed by `ended`.
            let _ = member.seen.send(seen);
        }
    }

    /// Ends a pipeline's task.
    pub(super) fn end(&mut self, key: &PipelineKey) {
        if let Some(member) = self.members.remove(key) {
            member.abort.abort();
        }
    }

    /// Whether a report is from the task that a pipeline has now.
    pub(super) fn is_current(&self, key: &PipelineKey, uid: &str) -> bool {
        self.members.get(key).is_some_and(|member| member.uid == uid)
    }

    /// A task that ended although it should not; pends while there is none.
    pub(super) async fn ended(&mut self) -> String {
        loop {
            let Some(joined) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
            let (id, reason) = match joined {
                Ok((id, ())) => (id, "it returned".to_owned()),
                Err(error) => (error.id(), error.to_string()),
            };
            let key = self.names.remove(&id);
            // An ended member was taken out before its task was.
            if let Some(key) = key.filter(|key| self.members.get(key).is_some_and(|member| member.abort.id() == id)) {
                return format!("the rules task of {key} ended: {reason}");
            }
        }
    }
}
