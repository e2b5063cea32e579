//! Events on our own objects, for `kubectl describe`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

/// The same words about the same object are written again only after this long: a reconcile that fails every few
/// seconds would else write as often. Kubernetes keeps an Event for an hour.
const REPEAT_AFTER: Duration = Duration::from_secs(1_800);
/// Bound of the API server for a note, in bytes.
const NOTE_BYTES_MAX: usize = 1_000;
/// Bound of the memory of what was said; beyond it, everything may be said once more.
const SAID_MAX: usize = 20_000;

/// Publishes Events. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    client: Client,
    reporter: Reporter,
    said: Arc<Mutex<HashMap<Said, Instant>>>,
}

/// Object (uid), reason and note.
type Said = (String, String, String);

impl Events {
    /// Events that name `pod_name` as their source.
    pub fn new(client: Client, pod_name: &str) -> Self {
        let reporter = Reporter { controller: "mutt.dev/operator".to_owned(), instance: Some(pod_name.to_owned()) };
        Self { client, reporter, said: Arc::default() }
    }

    /// Something went as wished.
    pub async fn normal(&self, regarding: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(regarding, EventType::Normal, reason, action, note).await;
    }

    /// Something needs a person.
    pub async fn warning(&self, regarding: &ObjectReference, reason: &str, action: &str, note: &str) {
        self.publish(regarding, EventType::Warning, reason, action, note).await;
    }

    /// An Event that cannot be written is logged, no more: the same stands in the object's status.
    async fn publish(&self, regarding: &ObjectReference, type_: EventType, reason: &str, action: &str, note: &str) {
        if !self.is_news(regarding, reason, note) {
            return;
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: Some(shortened(note)),
            secondary: None,
        };
        // kube's recorder counts Events of one reason as a series and keeps the first one's note, so that a second error
        // would be shown with the first one's words; one that knows nothing yet always writes what it is given.
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        if let Err(error) = recorder.publish(&event, regarding).await {
            tracing::warn!(%error, reason, object = regarding.name, "an Event cannot be written");
            self.said().remove(&key(regarding, reason, note));
        }
    }

    fn is_news(&self, regarding: &ObjectReference, reason: &str, note: &str) -> bool {
        let mut said = self.said();
        if said.len() >= SAID_MAX {
            said.retain(|_, at| at.elapsed() < REPEAT_AFTER);
            if said.len() >= SAID_MAX {
                said.clear();
            }
        }
        let now = Instant::now();
        let before = said.insert(key(regarding, reason, note), now);
        match before {
            Some(at) if now.saturating_duration_since(at) < REPEAT_AFTER => {
                // The time of the writing counts, not of the last wish to write.
                said.insert(key(regarding, reason, note), at);
                false
            }
            _ => true,
        }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, HashMap<Said, Instant>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(regarding: &ObjectReference, reason: &str, note: &str) -> Said {
    let object = regarding.uid.clone().or_else(|| regarding.name.clone()).unwrap_or_default();
    (object, reason.to_owned(), note.to_owned())
}

fn shortened(note: &str) -> String {
    if note.len() <= NOTE_BYTES_MAX {
        return note.to_owned();
    }
    let end = (0..=NOTE_BYTES_MAX - '…'.len_utf8()).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &note[..end])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(600);
        let cut = shortened(&long);
        assert!(cut.len() <= NOTE_BYTES_MAX && cut.ends_with('…') && cut.starts_with("ää"), "{}", cut.len());
    }
}
