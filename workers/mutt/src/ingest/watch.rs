//! Watches Redis: is it there, may it be used, how full is it, which limits hold.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mutt_queue::{RedisError, Totals, settings, totals};
use tokio::time::{MissedTickBehavior, interval};

use super::lane::Lane;
use crate::server::Dependency;
use crate::settings::{Ack, IngestorSettings};
use crate::worker::Fatal;

/// Between looks at the queue's depth: other ingestors fill it too, and alerters drain it.
const DEPTH_INTERVAL: Duration = Duration::from_millis(200);
/// Looks at the depth between looks at memory (1 s), and at settings changed at run time and all totals (5 s).
const MEMORY_EVERY: u64 = 5;
const SETTINGS_EVERY: u64 = 25;
/// The setting that the Web UI may change.
const DEPTH_MAX_SETTING: &str = "max_ingest_queue_size";

/// Watches until something is wrong that only a person can mend.
pub(crate) async fn watch(lane: &Lane, settings: &IngestorSettings, redis: &Dependency) -> Fatal {
    let mut ticks = interval(DEPTH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = 0_u64;
    loop {
        ticks.tick().await;
        let seen = if lane.shared.is_checked() {
            look(lane, settings, turn).await
        } else {
            turn = 0;
            match first_look(lane, settings).await {
                Ok(Err(fatal)) => return fatal,
                Ok(Ok(())) => look(lane, settings, 0).await,
                Err(error) => Err(error),
            }
        };
        match seen {
            Ok(()) => redis.up(),
            Err(error) => {
                let metrics = &lane.shared.metrics;
                if metrics.queues.unknown() {
                    metrics.queue_depth.set(0);
                    metrics.redis_bytes.set(0);
                }
                redis.down(error);
            }
        }
        turn += 1;
    }
}

/// Whether this Redis may be trusted with events at all.
async fn first_look(lane: &Lane, settings: &IngestorSettings) -> Result<Result<(), Fatal>, RedisError> {
    let seen = lane.queue.redis.preflight().await?;
    if let Err(refusal) = seen.check() {
        return Ok(Err(Fatal::Refused(refusal.to_string())));
    }
    if settings.ack == Ack::Fsync && !seen.waitaof {
        let what = format!(
            "INGEST_ACK=fsync needs WAITAOF: Redis 7.2 or Valkey with appendonly yes; this is {} {} with appendonly {}",
            seen.flavour,
            seen.version,
            if seen.appendonly { "yes" } else { "no" }
        );
        return Ok(Err(Fatal::Refused(what)));
    }
    for warning in seen.warnings() {
        tracing::warn!("{warning}");
    }
    tracing::info!(flavour = seen.flavour, version = seen.version, "redis may be used");
    lane.shared.checked.store(true, Ordering::Relaxed);
    Ok(Ok(()))
}

async fn look(lane: &Lane, settings: &IngestorSettings, turn: u64) -> Result<(), RedisError> {
    let shared = &lane.shared;
    let (redis, keys) = (&lane.queue.redis, &lane.queue.keys);
    let depth = totals::depth(redis, &keys.ingest_queue).await?;
    shared.gate.set_depth(depth);
    shared.metrics.queue_depth.set(depth as i64);
    if turn.is_multiple_of(MEMORY_EVERY) {
        let info: String = redis.query(mutt_queue::redis::cmd("INFO").arg("memory")).await?;
        let memory = Memory::parse(&info);
        let set = settings.max_redis_bytes;
        let limit = if set > 0 { set } else { memory.default_max() };
        shared.gate.set_bytes(memory.used, limit);
        shared.metrics.redis_bytes.set(memory.used as i64);
        shared.metrics.redis_bytes_limit.set(limit as i64);
    }
    if turn.is_multiple_of(SETTINGS_EVERY) {
        let changed = settings::read(redis, keys).await?;
        let depth_max = changed.get(DEPTH_MAX_SETTING).and_then(|text| text.parse().ok()).filter(|max| *max > 0);
        let depth_max = depth_max.unwrap_or(settings.max_queue_size);
        shared.gate.set_depth_max(depth_max);
        shared.metrics.queue_limit.set(depth_max as i64);
        // For people only: a script that this ingestor may not run keeps no event out.
        match Totals::read(redis, keys).await {
            Ok(totals) => shared.metrics.queues.set(&totals),
            Err(error) => {
                tracing::debug!(%error, "totals");
                shared.metrics.queues.unknown();
            }
        }
    }
    Ok(())
}

/// The figures of `INFO memory` that count.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    used: u64,
    configured_max: u64,
    machine: u64,
}

impl Memory {
    fn parse(info: &str) -> Self {
        let number = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|text| text.trim_end().parse().ok()).unwrap_or(0)
        };
        Self {
            used: number("used_memory"),
            configured_max: number("maxmemory"),
            machine: number("total_system_memory"),
        }
    }

    /// 80 % of maxmemory, or of the machine's memory where that is 0; 0 = not known.
    fn default_max(&self) -> u64 {
        let whole = if self.configured_max > 0 { self.configured_max } else { self.machine };
        whole / 5 * 4
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn memory_limit_is_four_fifths_of_what_there_is() {
        let info = "# Memory\r\nused_memory:10\r\nused_memory_human:10B\r\ntotal_system_memory:1000\r\nmaxmemory:0\r\n";
        let memory = Memory::parse(info);
        assert_eq!(memory, Memory { used: 10, configured_max: 0, machine: 1_000 });
        assert_eq!(memory.default_max(), 800);
        assert_eq!(Memory { configured_max: 500, ..memory }.default_max(), 400);
        assert_eq!(Memory::parse("").default_max(), 0);
    }
}
