//! What is told about rules besides their conditions: Events, and which rules can never fire.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use mutt_crds::{GROUP, VERSION};
use mutt_rules::shadowed;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Shadows;
use super::form::Verdict;
use super::index::{Entry, PipelineSet};
use crate::runtime::Context;

/// Events that are written at the same time: a thousand rejected rules are no burden for an API server.
const EVENTS_MAX: usize = 8;

/// The rules of a set that can never fire, with the rule that is tried before and takes all they would match.
pub(super) fn shadows(set: &PipelineSet) -> Shadows {
    let in_use: Vec<_> = set.forms.iter().filter(|form| form.rule.spec.enabled).collect();
    let claims: Vec<_> = in_use.iter().map(|form| &form.claim).collect();
    let found = in_use.iter().zip(shadowed(&claims));
    found.filter_map(|(form, by)| Some((form.name().to_owned(), in_use.get(by?)?.name().to_owned()))).collect()
}

/// Events on their way; they end with their owner, as all that writes.
pub(super) struct Events {
    tasks: JoinSet<()>,
    room: Arc<Semaphore>,
}

impl Default for Events {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), room: Arc::new(Semaphore::new(EVENTS_MAX)) }
    }
}

impl Events {
    /// The next one that was written; none while there is none.
    pub(super) async fn ended(&mut self) -> Option<()> {
        self.tasks.join_next().await.map(drop)
    }
}

/// Writes a Warning Event for a rejected rule, unless its status says so already.
pub(super) fn rejected(context: &Arc<Context>, events: &mut Events, entry: &Entry, verdict: &Verdict) {
    let Verdict::Rejected { reason, message } = verdict else { return };
    let object = &entry.object;
    let is_told =
        object.status.conditions.iter().any(|condition| {
            condition.type_ == "Accepted" && condition.status == "False" && condition.message == *message
        });
    if is_told {
        return;
    }
    let (namespace, name) = object.name.split_once('/').unwrap_or_default();
    let regarding = ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some("AlertRule".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(object.uid.clone()),
        ..ObjectReference::default()
    };
    let (context, reason, message) = (Arc::clone(context), *reason, message.clone());
    // It may take its time: the condition says the same.
    let room = Arc::clone(&events.room);
    events.tasks.spawn(async move {
        // The semaphore is never closed.
        let _room = room.acquire().await;
        context.events.warning(&regarding, reason, "Compile", &message).await;
    });
}
