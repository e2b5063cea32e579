//! An alerter as Redis sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mutt_queue::served_rules::{self, Ack, AckError};
use mutt_queue::{Keys, Redis, RedisSettings, Role, WorkerId, heartbeat};
use mutt_rules::RuleSet;
use tokio::task::JoinHandle;

use super::{LIMIT, LOOK_EVERY};

/// Ends without a word when dropped, as a killed one does; [`Alerter::leave`] says goodbye.
pub(crate) struct Alerter {
    redis: Redis,
    keys: Keys,
    id: WorkerId,
    refuses: Arc<Mutex<Option<String>>>,
    frozen: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Alerter {
    pub(crate) fn start(url: &str, prefix: &str, name: &str) -> Self {
        let redis = patient(url);
        let (keys, id) = (Keys::new(prefix), WorkerId::new(name));
        let refuses: Arc<Mutex<Option<String>>> = Arc::default();
        let frozen: Arc<AtomicBool> = Arc::default();
        let part = (Arc::clone(&refuses), Arc::clone(&frozen));
        let task = tokio::spawn(work(redis.clone(), keys.clone(), id.clone(), part));
        Self { redis, keys, id, refuses, frozen, task }
    }

    /// From now on it cannot use this rule.
    pub(crate) fn refuse(&self, rule: &str) {
        *self.refuses.lock().unwrap() = Some(rule.to_owned());
    }

    pub(crate) fn name(&self) -> &str {
        self.id.as_str()
    }

    pub(crate) async fn leave(self) {
        self.task.abort();
        served_rules::forget(&self.redis, &self.keys, &self.id).await.unwrap();
        heartbeat::stop(&self.redis, &self.keys, Role::Alerter, &self.id).await.unwrap();
    }

    /// Keeps its heartbeat but looks at nothing any more.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }
}

impl Drop for Alerter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection that no load of the machine makes time out.
pub(crate) fn patient(url: &str) -> Redis {
    let mut settings = RedisSettings::from_url(url).unwrap();
    settings.connect_timeout = LIMIT;
    settings.response_timeout = LIMIT;
    Redis::new(settings)
}

async fn work(
    redis: Redis,
    keys: Keys,
    id: WorkerId,
    (refuses, frozen): (Arc<Mutex<Option<String>>>, Arc<AtomicBool>),
) {
    let mut in_use = None;
    loop {
        // A Redis that is away or flushed is nothing new to an alerter.
        drop(heartbeat::beat(&redis, &keys, Role::Alerter, &id, "test").await);
        if !frozen.load(Ordering::SeqCst)
            && let Ok(Some(revision)) = served_rules::current(&redis, &keys).await
        {
            let wanted = (revision, refuses.lock().unwrap().clone());
            let mut asked = mutt_queue::redis::cmd("HEXISTS");
            let is_known: bool = redis.query(asked.arg(&keys.rules_ack).arg(id.as_str())).await.unwrap_or(false);
            if !is_known || in_use.as_ref() != Some(&wanted) {
                in_use = take_up(&redis, &keys, &id, wanted).await;
            }
        }
        tokio::time::sleep(LOOK_EVERY / 5).await;
    }
}

/// Reads and acknowledges a revision, but for the rule that it cannot use.
async fn take_up(
    redis: &Redis,
    keys: &Keys,
    id: &WorkerId,
    wanted: (String, Option<String>),
) -> Option<(String, Option<String>)> {
    let text = served_rules::bundle(redis, keys, &wanted.0).await.ok()??;
    let set = RuleSet::from_json(&text).unwrap();
    assert_eq!(mutt_rules::Revision::of(&text).as_str(), wanted.0);
    let error = |rule| AckError { rule, reason: "too large".to_owned(), last_good_in_use: false };
    let errors = wanted.1.clone().map(error).into_iter().collect();
    let ack = Ack { revision: wanted.0.clone(), rules: set.rules().len(), errors };
    served_rules::acknowledge(redis, keys, id, &ack).await.ok()?;
    Some(wanted)
}
