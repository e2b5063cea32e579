//! Running totals and the two balances that prove that nothing is lost.
//!
//! Each field of the hash `<prefix>:totals` only ever rises, in the script that does the thing it
//! counts. Two balances must be zero at any moment:
//!
//! - events: accepted + replayed − finished − dead_lettered − ingest_queue − in flight (alerter)
//! - alerts: alerts + alerts_replayed − alerts_delivered − alerts_dead_lettered − alert_queue
//!   − leased (forwarder) − delayed − refused

use std::collections::HashMap;

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
    counts: HashMap<String, i64>,
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

    /// `mutt_conservation_gap`: both gaps together.
    pub fn gap(&self) -> i64 {
        self.gap_events() + self.gap_alerts()
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
        call.arg(&keys.processing_alerter);
        let (flat, depths, in_flight): (Vec<Value>, [i64; 9], i64) = redis.run_as(&call).await?;
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
        })
    }
}

/// The length of one list.
///
/// # Errors
/// Those of a command.
pub async fn depth(redis: &Redis, list: &str) -> Result<u64, RedisError> {
    redis.query(redis::cmd("LLEN").arg(list)).await
}

/// The oldest element of a queue, whose `_received_at` gives the queue's oldest age.
///
/// # Errors
/// Those of a command.
pub async fn oldest(redis: &Redis, list: &str) -> Result<Option<Vec<u8>>, RedisError> {
    redis.query(redis::cmd("LINDEX").arg(list).arg(-1)).await
}
