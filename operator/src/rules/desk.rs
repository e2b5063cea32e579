//! Writes statuses of AlertRules: a bounded number at a time, one per rule, none that says what is there already. What a
//! status should say is asked for when its turn comes, so that several changes in a row are one write.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use mutt_crds::{AlertRule, AlertRuleStatus, GROUP, VERSION};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::repeats::Repeats;
use super::watch::version_of;

/// Writes at the same time: enough for 1,000 rules within a second or two, and no burden for an API server.
const WRITES_MAX: usize = 24;
/// A write that takes longer is given up and tried again.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Field manager of all statuses.
pub(super) const STATUS_MANAGER: &str = "mutt-operator-status";

/// A write that ended.
#[derive(Debug)]
pub(super) struct Written {
    /// The rule.
    pub(super) name: String,
    /// Its UID.
    pub(super) uid: String,
    /// Status and version of the object now; none = it was not written.
    pub(super) now: Option<(AlertRuleStatus, u64)>,
}

/// Rules whose status is to be looked at, and writes under way.
#[derive(Default)]
pub(super) struct Desk {
    queue: VecDeque<String>,
    queued: BTreeSet<String>,
    later: BTreeMap<Instant, Vec<String>>,
    due: HashMap<String, Instant>,
    writing: BTreeSet<String>,
    writes: JoinSet<(String, String, Result<AlertRule, kube::Error>)>,
    failures: HashMap<String, u32>,
    repeats: Repeats,
}

impl Desk {
    /// This rule's status is to be looked at as soon as possible.
    pub(super) fn look(&mut self, name: &str) {
        if !self.writing.contains(name) && self.queued.insert(name.to_owned()) {
            self.queue.push_back(name.to_owned());
        }
    }

    /// This rule's status is to be looked at then; an earlier time set before counts.
    pub(super) fn look_at(&mut self, name: &str, at: Instant) {
        if self.due.get(name).is_none_or(|due| *due > at) {
            self.due.insert(name.to_owned(), at);
            self.later.entry(at).or_default().push(name.to_owned());
        }
    }

    /// When something is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.later.first_key_value().map(|(at, _)| *at)
    }

    /// Takes over what is due now.
    pub(super) fn take_due(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry().filter(|entry| *entry.key() <= now) {
            let (at, names) = entry.remove_entry();
            for name in names {
                if self.due.get(&name) == Some(&at) {
                    self.due.remove(&name);
                    self.look(&name);
                }
            }
        }
    }

    /// The next rule to look at, while there is room for a write.
    pub(super) fn next(&mut self) -> Option<String> {
        if self.writes.len() >= WRITES_MAX {
            return None;
        }
        let name = self.queue.pop_front()?;
        self.queued.remove(&name);
        Some(name)
    }

    /// Begins a write, unless the same was written just before: then it is looked at again after a pause. The UID keeps it
    /// away from another object of the same name.
    pub(super) fn write(&mut self, client: &Client, name: &str, uid: &str, status: &AlertRuleStatus) {
        if let Some(at) = self.repeats.not_before(name, uid, status, Instant::now()) {
            return self.look_at(name, at);
        }
        let (namespace, own_name) = name.split_once('/').unwrap_or(("", name));
        let api: Api<AlertRule> = Api::namespaced(client.clone(), namespace);
        let patch = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "AlertRule",
            "metadata": {"name": own_name, "namespace": namespace, "uid": uid},
            "status": status,
        });
        let (own_name, name, uid) = (own_name.to_owned(), name.to_owned(), uid.to_owned());
        self.writing.insert(name.clone());
        self.writes.spawn(async move {
            let parameters = PatchParams::apply(STATUS_MANAGER).force();
            let patch = Patch::Apply(&patch);
            let write = api.patch_status(&own_name, &parameters, &patch);
            let result = match tokio::time::timeout(WRITE_TIMEOUT, write).await {
                Ok(result) => result,
                Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
            };
            (name, uid, result)
        });
    }

    /// The next write that ends; pends while there is none.
    pub(super) async fn ended(&mut self) -> Written {
        let joined = match self.writes.join_next().await {
            Some(joined) => joined,
            None => std::future::pending().await,
        };
        let (name, uid, result) = match joined {
            Ok(ended) => ended,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only when the runtime ends.
                Err(_) => std::future::pending().await,
            },
        };
        self.writing.remove(&name);
        let now = match result {
            Ok(object) => {
                self.failures.remove(&name);
                let version = version_of(object.resource_version().as_deref());
                Some((object.status.unwrap_or_default(), version))
            }
            Err(error) => {
                self.failed(&name, &error);
                None
            }
        };
        Written { name, uid, now }
    }

    fn failed(&mut self, name: &str, error: &kube::Error) {
        // Gone, or another object of that name: the watch tells, perhaps before this answer came.
        if matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409)) {
            self.failures.remove(name);
            self.look_at(name, Instant::now() + RETRY.0);
            return;
        }
        let failures = self.failures.entry(name.to_owned()).or_default();
        let pause = RETRY.0.saturating_mul(1 << (*failures).min(8)).min(RETRY.1);
        *failures += 1;
        tracing::warn!(%error, rule = name, "the status of an AlertRule cannot be written; tried again");
        self.look_at(name, Instant::now() + pause.mul_f64(0.5 + 0.5 * fastrand::f64()));
    }

    /// The rule is gone.
    pub(super) fn forget(&mut self, name: &str) {
        self.due.remove(name);
        self.failures.remove(name);
        self.repeats.forget(name);
    }

    /// Whether a rule's status is being written.
    pub(super) fn is_writing(&self, name: &str) -> bool {
        self.writing.contains(name)
    }
}
