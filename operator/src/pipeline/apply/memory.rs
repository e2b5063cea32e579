//! What was applied and how the API server answered, so that nothing is sent twice: an apply that changes nothing costs no resource
//! version, but a request that writes.
//!
//! Server-side apply keeps book of who owns which field. A field that somebody else sets to another value goes out of our entry; so a
//! child is as it was applied exactly as long as our entry is what it was in the answer. Its status, and fields of others (an
//! annotation of `kubectl rollout restart`), change nothing in it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::core::ObjectMeta;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{MANAGER, ownership::fields_of};
use crate::pipeline::{
    kinds::{ChildKind, Wanted},
    mirror::Answer,
};

type Hash = [u8; 32];
type Children = HashMap<(ChildKind, String), Sent>;

/// By the pipeline's UID. After a restart it is empty, and each child is applied once.
#[derive(Default)]
pub struct Memory(Mutex<HashMap<String, Children>>);

/// One child as it was applied.
pub(super) struct Sent {
    wanted: Hash,
    uid: Option<String>,
    /// Our entry in the book of fields.
    fields: Option<Hash>,
    answer: Answer,
}

impl Sent {
    pub(super) fn new(child: &Wanted, answer: &ObjectMeta) -> Self {
        Self {
            wanted: hash(&child.object),
            uid: answer.uid.clone(),
            fields: fields_of(answer, MANAGER).map(hash),
            answer: Answer::new(answer),
        }
    }
}

impl Memory {
    /// Whether the object is as `child` wants it, as far as this process has seen to it.
    pub(super) fn says_the_same(&self, pipeline: &str, child: &Wanted, seen: &ObjectMeta) -> bool {
        let memory = self.lock();
        let Some(sent) = memory.get(pipeline).and_then(|children| children.get(&(child.kind, child.name.clone())))
        else {
            return false;
        };
        sent.wanted == hash(&child.object)
            && sent.uid == seen.uid
            && (sent.answer.is_newer_than(seen) || sent.fields == fields_of(seen, MANAGER).map(hash))
    }

    pub(super) fn remember(&self, pipeline: &str, child: &Wanted, sent: Sent) {
        self.lock().entry(pipeline.to_owned()).or_default().insert((child.kind, child.name.clone()), sent);
    }

    pub(super) fn forget(&self, pipeline: &str, kind: ChildKind, name: &str) {
        if let Some(children) = self.lock().get_mut(pipeline) {
            children.remove(&(kind, name.to_owned()));
        }
    }

    /// The pipeline is gone.
    pub fn forget_pipeline(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Children>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(value: &Value) -> Hash {
    Sha256::digest(value.to_string().as_bytes()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::*;

    fn child(image: &str) -> Wanted {
        Wanted { kind: ChildKind::Deployment, name: "core-alerter".into(), object: json!({"spec": {"image": image}}) }
    }

    fn answer(uid: &str, version: &str, owned: &Value) -> ObjectMeta {
        let entry = |manager: &str, operation: &str, fields: &Value| json!({"manager": manager, "operation": operation, "fieldsV1": fields});
        let fields = [entry("kubectl", "Update", &json!({"f:metadata": {}})), entry(MANAGER, "Apply", owned)];
        serde_json::from_value(json!({"uid": uid, "resourceVersion": version, "managedFields": fields})).unwrap()
    }

    #[test]
    fn a_child_is_applied_again_exactly_if_it_is_no_longer_what_was_applied() {
        let (memory, all) = (Memory::default(), json!({"f:spec": {"f:image": {}}}));
        assert!(!memory.says_the_same("u", &child("a"), &answer("1", "10", &all)), "nothing was applied yet");
        memory.remember("u", &child("a"), Sent::new(&child("a"), &answer("1", "10", &all)));
        assert!(memory.says_the_same("u", &child("a"), &answer("1", "10", &all)));
        assert!(memory.says_the_same("u", &child("a"), &answer("1", "11", &all)), "its status changed");
        assert!(!memory.says_the_same("u", &child("b"), &answer("1", "11", &all)), "something else is wanted");
        assert!(!memory.says_the_same("u", &child("a"), &answer("2", "12", &all)), "it was deleted and made anew");
        assert!(!memory.says_the_same("v", &child("a"), &answer("1", "11", &all)), "it is another pipeline's");
        let taken = json!({"f:spec": {}});
        assert!(!memory.says_the_same("u", &child("a"), &answer("1", "12", &taken)), "somebody changed our field");
        assert!(memory.says_the_same("u", &child("a"), &answer("1", "9", &taken)), "older than our write");
        memory.forget_pipeline("u");
        assert!(!memory.says_the_same("u", &child("a"), &answer("1", "10", &all)));
    }
}
