//! Which worker has which revision: the hash `rules:ack`, and a PUBLISH on a channel of the same name.

use std::collections::BTreeMap;
use std::time::Duration;

use mutt_queue::{Keys, Redis, RedisError, Role, WorkerId, heartbeat};
use mutt_rules::Revision;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Errors that an entry names; the worker's log has all.
const ERRORS_MAX: usize = 20;
/// Pause between looks at the acknowledgements.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a worker says about its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ack {
    /// Revision in use.
    pub revision: String,
    /// Number of rules in use.
    pub rules: usize,
    /// Rules that are not in use as written, at most twenty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<AckError>,
}

/// A rule that is not in use as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AckError {
    /// Name of the rule, or the file and number of its document.
    pub rule: String,
    /// What is wrong with it.
    pub reason: String,
    /// Whether its last good form is in use; else it is left out.
    pub last_good_in_use: bool,
}

/// What the live alerters said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Acks {
    /// By worker; only workers with a live heartbeat.
    pub by_worker: BTreeMap<String, Ack>,
    /// Live workers that do not have the revision yet.
    pub laggards: Vec<String>,
}

impl Acks {
    /// Whether every live alerter has the revision; true if there is none.
    pub(crate) fn all_active(&self) -> bool {
        self.laggards.is_empty()
    }
}

/// Says which revision a worker uses.
pub(super) async fn acknowledge(
    redis: &Redis,
    keys: &Keys,
    worker: &WorkerId,
    active: &super::Active,
) -> Result<(), RedisError> {
    let errors = active.errors.iter().take(ERRORS_MAX);
    let ack = Ack {
        revision: active.revision.to_string(),
        rules: active.compiled.rules().len(),
        errors: errors
            .map(|error| AckError {
                rule: error.rule.clone(),
                reason: error.reason.clone(),
                last_good_in_use: error.last_good_in_use,
            })
            .collect(),
    };
    // A struct of texts and numbers always has a JSON form.
    let text = serde_json::to_string(&ack).unwrap_or_default();
    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("HSET").arg(&keys.rules_ack).arg(worker.as_str()).arg(text).ignore();
    pipe.cmd("PUBLISH").arg(&keys.rules_ack).arg(worker.as_str()).ignore();
    redis.pipeline::<()>(&pipe).await
}

/// Removes a worker's entry at its end.
///
/// # Errors
/// Those of a command.
pub(crate) async fn forget_ack(redis: &Redis, keys: &Keys, worker: &WorkerId) -> Result<(), RedisError> {
    redis.query::<i64>(redis::cmd("HDEL").arg(&keys.rules_ack).arg(worker.as_str())).await.map(drop)
}

/// Waits until every live alerter uses `revision`, at most for `limit`; what is known then is returned either way.
///
/// # Errors
/// Those of a command.
pub(crate) async fn wait_active(
    redis: &Redis,
    keys: &Keys,
    revision: &Revision,
    limit: Duration,
) -> Result<Acks, RedisError> {
    let deadline = Instant::now() + limit;
    loop {
        let acks = look(redis, keys, revision).await?;
        if acks.all_active() || Instant::now() >= deadline {
            return Ok(acks);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(redis: &Redis, keys: &Keys, revision: &Revision) -> Result<Acks, RedisError> {
    let alive = heartbeat::alive(redis, keys, Role::Alerter).await?;
    let entries: BTreeMap<String, String> = redis.query(redis::cmd("HGETALL").arg(&keys.rules_ack)).await?;
    let mut acks = Acks::default();
    for worker in alive {
        let ack: Option<Ack> = entries.get(worker.as_str()).and_then(|text| serde_json::from_str(text).ok());
        if ack.as_ref().is_none_or(|ack| ack.revision != revision.as_str()) {
            acks.laggards.push(worker.to_string());
        }
        if let Some(ack) = ack {
            acks.by_worker.insert(worker.to_string(), ack);
        }
    }
    Ok(acks)
}
