//! Running totals and the two balances that prove that nothing is lost.
//!
//! Each field of the hash `<prefix>:totals` only ever rises, in the script that does the thing it
//! counts. Two balances must be zero at any moment:
//!
//! - events: accepted + replayed − finished − dead_lettered − ingest_queue − in flight (alerter)
//! - alerts: alerts + alerts_replayed − alerts_delivered − alerts_dead_lettered − alert_queue
//!   − leased (forwarder) − delayed − refused

use std::collections::HashMap;
use std::time::Duration;

use redis::Value;

use crate::connection::Redis;
use crate::error::RedisError;
use crate::keys::Keys;
use crate::script::Script;

/// Events that an ingestor pushed.
pub const ACCEPTED: &str = "accepted";
/// Refused items of batches, kept in `dlq:ingest`; no accepted events.
pub const REJECTED: &str = "rejected";
/// Events that an alerter audited.
pub const FINISHED: &str = "finished";
/// Events that an alerter moved to `dlq:alerter`.
pub const DEAD_LETTERED: &str = "dead_lettered";
/// Events put back into the ingest queue by a replay from any event DLQ.
pub const REPLAYED: &str = "replayed";
/// Dead events deleted by a purge.
pub const PURGED: &str = "purged";
/// Alerts pushed to the alert queue, meta-alerts too.
pub const ALERTS: &str = "alerts";
/// Alerts that the webhook took.
pub const ALERTS_DELIVERED: &str = "alerts_delivered";
/// Alerts moved to `dlq:moog`.
pub const ALERTS_DEAD_LETTERED: &str = "alerts_dead_lettered";
/// Alerts put back into the alert queue by a replay.
pub const ALERTS_REPLAYED: &str = "alerts_replayed";
/// Dead alerts deleted by a purge.
pub const ALERTS_PURGED: &str = "alerts_purged";

static TOTALS: Script = Script::new(include_str!("lua/totals.lua"));

/// All totals and depths of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Running totals by the names above; read one with [`Totals::count`].
    pub counts: HashMap<String, i64>,
    /// Length of the ingest queue.
    pub ingest_queue: i64,
    /// Elements in the alerters' lists in flight.
    pub in_flight: i64,
    /// Length of the alert queue.
    pub alert_queue: i64,
    /// Alerts that forwarders hold.
    pub alerts_in_flight: i64,
    /// Alerts that wait for a retry.
    pub delayed: i64,
    /// Alerts refused with 401/403/404, kept until the pause ends.
    pub refused: i64,
    /// Length of `dlq:ingest`.
    pub dlq_ingest: i64,
    /// Length of `dlq:alerter`.
    pub dlq_alerter: i64,
    /// Length of `dlq:moog`.
    pub dlq_moog: i64,
    /// Length of `dlq:dead`.
    pub dlq_dead: i64,
    /// Age of the oldest waiting event and event in flight, alert and alert in flight; see [`Totals::queues`].
    pub ages: [Option<Duration>; 4],
}

/// One queue, waiting or in processing, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueState {
    /// `ingest` or `alert`.
    pub queue: &'static str,
    /// `waiting` or `processing`.
    pub state: &'static str,
    /// Elements.
    pub depth: i64,
    /// Since the oldest one was accepted, by Redis' clock; in processing, the oldest of what was taken first. `None` if
    /// there is none, it does not say when it came, or it was replayed and lay in a dead letter queue meanwhile.
    pub oldest_age: Option<Duration>,
}

impl Totals {
    /// One running total; 0 before its first event.
    pub fn count(&self, field: &str) -> i64 {
        self.counts.get(field).copied().unwrap_or(0)
    }

    /// Accepted events that are nowhere; negative = events that nobody accepted.
    pub fn gap_events(&self) -> i64 {
        self.count(ACCEPTED) + self.count(REPLAYED)
            - self.count(FINISHED)
            - self.count(DEAD_LETTERED)
            - self.ingest_queue
            - self.in_flight
    }

    /// The same for alerts.
    pub fn gap_alerts(&self) -> i64 {
        self.count(ALERTS) + self.count(ALERTS_REPLAYED)
            - self.count(ALERTS_DELIVERED)
            - self.count(ALERTS_DEAD_LETTERED)
            - self.alert_queue
            - self.alerts_in_flight
            - self.delayed
            - self.refused
    }

    /// `mutt_conservation_gap`: the gap that is further from 0; a lost event and an invented alert do not make up for
    /// each other.
    pub fn gap(&self) -> i64 {
        let (events, alerts) = (self.gap_events(), self.gap_alerts());
        if events.abs() >= alerts.abs() { events } else { alerts }
    }

    /// Both queues, waiting and in processing. Retries that wait and alerts refused during a pause are in neither.
    pub fn queues(&self) -> [QueueState; 4] {
        let [ingest, in_flight, alert, alerts_in_flight] = self.ages;
        let state = |queue, state, depth, oldest_age| QueueState { queue, state, depth, oldest_age };
        [
            state("ingest", "waiting", self.ingest_queue, ingest),
            state("ingest", "processing", self.in_flight, in_flight),
            state("alert", "waiting", self.alert_queue, alert),
            state("alert", "processing", self.alerts_in_flight, alerts_in_flight),
        ]
    }

    /// The four dead letter queues by the word behind `dlq:`.
    pub fn dead_letters(&self) -> [(&'static str, i64); 4] {
        [("ingest", self.dlq_ingest), ("alerter", self.dlq_alerter), ("moog", self.dlq_moog), ("dead", self.dlq_dead)]
    }

    /// Reads everything in one script.
    ///
    /// # Errors
    /// Those of a command.
    pub async fn read(redis: &Redis, keys: &Keys) -> Result<Self, RedisError> {
        let mut call = TOTALS.call(&[
            &keys.totals,
            &keys.ingest_queue,
            &keys.leases_alerter,
            &keys.alert_queue,
            &keys.leases_moog,
            &keys.delayed_moog,
            &keys.refused_moog,
            &keys.dlq_ingest,
            &keys.dlq_alerter,
            &keys.dlq_moog,
            &keys.dlq_dead,
        ]);
        call.arg(&keys.processing_alerter).arg(&keys.processing_moog);
        let (flat, depths, in_flight, now_us, received): (Vec<Value>, [i64; 9], i64, i64, [Vec<u8>; 4]) =
            redis.run_as(&call).await?;
        let [
            ingest_queue,
            alert_queue,
            alerts_in_flight,
            delayed,
            refused,
            dlq_ingest,
            dlq_alerter,
            dlq_moog,
            dlq_dead,
        ] = depths;
        let counts = redis::from_redis_value(Value::Array(flat)).map_err(|_| RedisError::shape("totals"))?;
        Ok(Self {
            counts,
            ingest_queue,
            in_flight,
            alert_queue,
            alerts_in_flight,
            delayed,
            refused,
            dlq_ingest,
            dlq_alerter,
            dlq_moog,
            dlq_dead,
            ages: received.map(|time| age(&time, now_us)),
        })
    }
}

/// Clocks of two machines may differ; nothing is younger than now.
fn age(received: &[u8], now_us: i64) -> Option<Duration> {
    let received: jiff::Timestamp = std::str::from_utf8(received).ok()?.parse().ok()?;
    Some(Duration::from_micros(u64::try_from(now_us - received.as_microsecond()).unwrap_or(0)))
}

/// The length of one list.
///
/// # Errors
/// Those of a command.
pub async fn depth(redis: &Redis, list: &str) -> Result<u64, RedisError> {
    redis.query(redis::cmd("LLEN").arg(list)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_by_redis_clock_and_never_negative() {
        let now_us = 1_764_072_010_500_000;
        assert_eq!(age(b"2025-11-25T12:00:00.25Z", now_us), Some(Duration::from_millis(10_250)));
        assert_eq!(age(b"2025-11-25T12:00:20Z", now_us), Some(Duration::ZERO));
        assert_eq!(age(b"", now_us), None);
        assert_eq!(age(b"yesterday", now_us), None);
        assert_eq!(age(b"\xff", now_us), None);
    }
}
