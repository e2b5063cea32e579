//! Rules as Redis serves them, at the level of texts: `rules:bundle:<revision>` holds a document, `rules:current` names
//! the revision, `rules:seq` its sequence number, and `rules:ack` says which worker uses which revision.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::connection::Redis;
use crate::error::RedisError;
use crate::ids::WorkerId;
use crate::keys::Keys;
use crate::script::Script;

/// Bundles that are no longer current stay for workers that are about to read them, in seconds.
const OLD_BUNDLE_TTL_S: u64 = 600;

static PUBLISH: Script = Script::new(include_str!("lua/publish_rules.lua"));
static SERVED: Script = Script::new(include_str!("lua/served_rules.lua"));

/// What a worker says about its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Revision in use.
    pub revision: String,
    /// Number of rules in use.
    pub rules: usize,
    /// Rules that are not in use as written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<AckError>,
}

/// A rule that is not in use as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckError {
    /// Name of the rule, or the file and number of its document.
    pub rule: String,
    /// What is wrong with it.
    pub reason: String,
    /// Whether its last good form is in use; else it is left out.
    pub last_good_in_use: bool,
}

/// What the live alerters said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acks {
    /// By worker; only workers with a live heartbeat.
    pub by_worker: BTreeMap<String, Ack>,
    /// Live workers that do not have the revision yet.
    pub laggards: Vec<String>,
}

impl Acks {
    /// Whether every live alerter has the revision; true if there is none.
    pub fn all_active(&self) -> bool {
        self.laggards.is_empty()
    }
}

/// What Redis serves at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Sequence number of the last publication; 0 before the first and after a flush.
    pub sequence: u64,
    /// The revision that workers should have; none before the first and after a flush.
    pub revision: Option<String>,
    /// Whether the bundle that was asked for is there.
    pub holds_bundle: bool,
    /// Alerters with a live heartbeat.
    pub alive: Vec<String>,
    /// What the live alerters said; one that said nothing yet is missing.
    pub acks: BTreeMap<String, Ack>,
}

impl Served {
    /// Reads everything at once. `revision` is the one whose bundle is asked for.
    ///
    /// # Errors
    /// Those of a command.
    pub async fn read(redis: &Redis, keys: &Keys, revision: &str) -> Result<Self, RedisError> {
        let call = SERVED.call(&[
            &keys.rules_current,
            &keys.rules_sequence,
            &keys.rules_bundle(revision),
            &keys.workers_alerter,
            &keys.rules_ack,
        ]);
        let (sequence, current, holds_bundle, alive, said): (u64, String, bool, Vec<String>, Vec<String>) =
            redis.run_as(&call).await?;
        let ack = |(worker, text): (&String, &String)| Some((worker.clone(), serde_json::from_str(text).ok()?));
        let acks = alive.iter().zip(&said).filter_map(ack).collect();
        Ok(Self { sequence, revision: named(current), holds_bundle, alive, acks })
    }

    /// Who has `revision` and who does not yet.
    pub fn acks_of(&self, revision: &str) -> Acks {
        let lags = |worker: &&String| self.acks.get(*worker).is_none_or(|ack| ack.revision != revision);
        Acks { by_worker: self.acks.clone(), laggards: self.alive.iter().filter(lags).cloned().collect() }
    }
}

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is current now, and all workers were told.
    Current,
    /// Redis holds this sequence number, which is not smaller; nothing was changed.
    Outdated(u64),
}

/// Makes `text` the current rules, unless Redis holds a sequence number that is not smaller. `revision` is the name by
/// which workers verify the text.
///
/// # Errors
/// Those of a command.
pub async fn publish(
    redis: &Redis,
    keys: &Keys,
    sequence: u64,
    revision: &str,
    text: &str,
) -> Result<Published, RedisError> {
    let bundle = keys.rules_bundle(revision);
    let previous = current(redis, keys).await?.map_or_else(|| bundle.clone(), |revision| keys.rules_bundle(&revision));
    let [channel, old_channel] = keys.reload_channels();
    let names = [&*keys.rules_current, &keys.rules_sequence, &bundle, &previous];
    let mut call = PUBLISH.call_sized(&names, 6, text.len());
    call.arg(sequence).arg(revision).arg(text).arg(OLD_BUNDLE_TTL_S).arg(channel).arg(old_channel);
    match redis.run_as(&call).await? {
        (true, _) => Ok(Published::Current),
        (false, held) => Ok(Published::Outdated(held)),
    }
}

/// Makes `revision` the current one and tells all workers: sets `rules:current` and publishes it on both channels. For
/// sources whose rules are not in Redis.
///
/// # Errors
/// Those of a command.
pub async fn announce(redis: &Redis, keys: &Keys, revision: &str) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("SET").arg(&keys.rules_current).arg(revision).ignore();
    for channel in keys.reload_channels() {
        pipe.cmd("PUBLISH").arg(channel).arg(revision).ignore();
    }
    redis.pipeline::<()>(&pipe).await
}

/// The revision that Redis names.
///
/// # Errors
/// Those of a command.
pub async fn current(redis: &Redis, keys: &Keys) -> Result<Option<String>, RedisError> {
    redis.query(redis::cmd("GET").arg(&keys.rules_current)).await.map(|text: Option<String>| text.and_then(named))
}

/// The document of a revision, not verified.
///
/// # Errors
/// Those of a command.
pub async fn bundle(redis: &Redis, keys: &Keys, revision: &str) -> Result<Option<String>, RedisError> {
    redis.query(redis::cmd("GET").arg(keys.rules_bundle(revision))).await
}

/// Says what a worker uses, and publishes that it did so on the channel `rules:ack`.
///
/// # Errors
/// Those of a command.
pub async fn acknowledge(redis: &Redis, keys: &Keys, worker: &WorkerId, ack: &Ack) -> Result<(), RedisError> {
    // A struct of texts and numbers always has a JSON form.
    let text = serde_json::to_string(ack).unwrap_or_default();
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
pub async fn forget(redis: &Redis, keys: &Keys, worker: &WorkerId) -> Result<(), RedisError> {
    redis.query::<i64>(redis::cmd("HDEL").arg(&keys.rules_ack).arg(worker.as_str())).await.map(drop)
}

fn named(revision: String) -> Option<String> {
    Some(revision).filter(|revision| !revision.is_empty())
}
