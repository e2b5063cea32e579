//! The end of a batch: one script pushes what follows from it, counts, and drops list and lease.

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::Value;

use crate::error::RedisError;
use crate::lease::{Lease, Leases};
use crate::script::Script;

static FINISH: Script = Script::new(include_str!("lua/finish.lua"));

/// A JSON document as text, not checked here; a part of a larger buffer as a rule.
pub type Json = Bytes;

/// All that follows from a batch. A successor must be able to make the same again.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    /// How many elements the batch has, those that become dead letters too.
    pub events: u64,
    /// Alerts for the alert queue, in order.
    pub alerts: Vec<Json>,
    /// Unhandled events by host and signature; each pair stands here once.
    pub unhandled: Vec<UnhandledGroup>,
    /// Documents for `dlq:alerter`.
    pub dead_letters: Vec<Json>,
    /// Documents for `dlq:dead`: events that were replayed [`crate::envelope::REPLAYS_MAX`] times in vain.
    pub last_letters: Vec<Json>,
}

/// Unhandled events of one host with one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnhandledGroup {
    /// The sending host.
    pub host: String,
    /// Hash of the signature.
    pub signature: String,
    /// Indexes of the events in the batch, rising.
    pub events: Vec<u32>,
}

/// When unhandled events raise a meta-alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnhandledLimits {
    /// How many (UNHANDLED_THRESHOLD).
    pub threshold: u64,
    /// Within how many seconds from the first; also how long another meta-alert is blocked.
    pub expiry_s: u64,
}

/// A group that would cross the threshold, so that its meta-alert is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaWanted {
    /// Index into [`Outbox::unhandled`].
    pub group: usize,
    /// Index in the batch of the event that reaches the threshold.
    pub event: usize,
}

/// The answer to a finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// All of it happened.
    Done {
        /// Length of the alert queue afterwards.
        alert_depth: u64,
        /// Meta-alerts that were pushed.
        meta_alerts: u64,
    },
    /// The batch is no more: it was finished before, by this worker or a successor.
    AlreadyDone,
    /// The batch has another owner.
    LostLease,
    /// Nothing happened: make these meta-alerts and finish again.
    MetaWanted(Vec<MetaWanted>),
}

impl Leases {
    /// Finishes a batch. `meta_alerts` holds the alerts made for groups named by an earlier
    /// answer; one whose group does not cross the threshold any more is left out. Each write of
    /// `outbox` happens exactly once, however often this is repeated.
    ///
    /// # Errors
    /// Those of a script. After `Unknown` the same call again says what became of it.
    pub async fn finish(
        &self,
        lease: &Lease,
        outbox: &Outbox,
        limits: UnhandledLimits,
        meta_alerts: &BTreeMap<usize, Json>,
    ) -> Result<Finished, RedisError> {
        let counters: Vec<String> =
            outbox.unhandled.iter().map(|g| self.keys.unhandled_counter(&g.host, &g.signature)).collect();
        let triggered: Vec<String> = counters.iter().map(|counter| format!("{counter}:triggered")).collect();
        let list = self.list(lease);
        let mut keys = vec![
            list.as_str(),
            self.keys.leases(self.role),
            self.keys.lease_state(self.role),
            &self.keys.totals,
            &self.keys.alert_queue,
            &self.keys.dlq_alerter,
            &self.keys.dlq_dead,
        ];
        for (counter, triggered) in counters.iter().zip(&triggered) {
            keys.extend([counter.as_str(), triggered.as_str()]);
        }
        let documents = || outbox.alerts.iter().chain(&outbox.dead_letters).chain(&outbox.last_letters);
        let arguments = 8 + documents().count() + 2 * outbox.unhandled.len();
        let mut call = FINISH.call_sized(&keys, arguments, documents().map(Bytes::len).sum());
        call.arg(lease.member())
            .arg(lease.batch.to_string())
            .arg(outbox.events)
            .arg(outbox.alerts.len())
            .arg(outbox.dead_letters.len())
            .arg(outbox.last_letters.len())
            .arg(limits.expiry_s.max(1))
            .arg(limits.threshold.max(1));
        for document in documents() {
            call.arg(document.as_ref());
        }
        for (index, group) in outbox.unhandled.iter().enumerate() {
            call.arg(group.events.len()).arg(meta_alerts.get(&index).map_or(&b""[..], AsRef::as_ref));
        }
        let answer: Vec<Value> = self.redis.run_as(&call).await?;
        parse_answer(answer, outbox, limits.threshold.max(1)).ok_or_else(|| RedisError::shape("finish"))
    }
}

fn parse_answer(answer: Vec<Value>, outbox: &Outbox, threshold: u64) -> Option<Finished> {
    let mut values = answer.into_iter();
    let status: String = redis::from_redis_value(values.next()?).ok()?;
    let numbers: Vec<u64> = values.map(redis::from_redis_value).collect::<Result<_, _>>().ok()?;
    Some(match (status.as_str(), numbers.as_slice()) {
        ("done", &[alert_depth, meta_alerts]) => Finished::Done { alert_depth, meta_alerts },
        ("gone", _) => Finished::AlreadyDone,
        ("lost", _) => Finished::LostLease,
        ("meta", pairs) => Finished::MetaWanted(
            pairs.chunks_exact(2).filter_map(|pair| wanted(pair[0] as usize, pair[1], outbox, threshold)).collect(),
        ),
        _ => return None,
    })
}

/// The event that reaches the threshold is the (threshold − before)th of its group.
fn wanted(group: usize, before: u64, outbox: &Outbox, threshold: u64) -> Option<MetaWanted> {
    let events = &outbox.unhandled.get(group)?.events;
    let nth = threshold.saturating_sub(before).saturating_sub(1) as usize;
    let event = *events.get(nth)? as usize;
    Some(MetaWanted { group, event })
}
