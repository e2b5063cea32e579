//! What Redis must be before a worker trusts it with events.

use std::collections::HashMap;

use crate::connection::Redis;
use crate::error::RedisError;

/// What Redis says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// `redis` or `valkey`.
    pub flavour: String,
    /// The version that flavour reports.
    pub version: String,
    /// `maxmemory-policy`.
    pub eviction_policy: String,
    /// Whether the append-only file is on.
    pub appendonly: bool,
    /// Whether WAITAOF can confirm an fsync (Redis ≥ 7.2 or Valkey, with appendonly on).
    pub waitaof: bool,
    /// `maxmemory` in bytes, 0 = unbounded.
    pub maxmemory_bytes: u64,
    /// The machine's memory in bytes, 0 if Redis does not say.
    pub total_system_memory_bytes: u64,
    /// Bytes in use now.
    pub used_memory_bytes: u64,
    /// Whether the server accepts writes as a master.
    pub is_master: bool,
}

/// Why a worker must not start on this Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Scripts with flags came with Redis 7.0.
    #[error("redis {0} is too old: 7.0 or later, or valkey, is needed")]
    TooOld(String),
    /// Any policy but noeviction silently deletes accepted events.
    #[error("maxmemory-policy is {0}: it must be noeviction, else redis deletes accepted events")]
    Evicts(String),
}

impl Preflight {
    /// Whether this Redis may be used.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn check(&self) -> Result<(), Refusal> {
        let major = self.version.split('.').next().and_then(|m| m.parse::<u32>().ok()).unwrap_or(0);
        if self.flavour == "redis" && major < 7 {
            return Err(Refusal::TooOld(self.version.clone()));
        }
        if self.eviction_policy != "noeviction" {
            return Err(Refusal::Evicts(self.eviction_policy.clone()));
        }
        Ok(())
    }

    /// What is worth a line in the log, but no refusal.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if !self.appendonly {
            warnings.push("appendonly is off: a restart of redis loses queued events");
        }
        warnings
    }

    /// The bytes that 80 % of the configured or existing memory makes; `None` if neither is known.
    pub fn default_bytes_max(&self) -> Option<u64> {
        let whole = if self.maxmemory_bytes > 0 { self.maxmemory_bytes } else { self.total_system_memory_bytes };
        (whole > 0).then(|| whole / 5 * 4)
    }

    fn parse(info: &str) -> Self {
        let fields: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let text = |name: &str| fields.get(name).copied().unwrap_or_default();
        let number = |name: &str| text(name).parse().unwrap_or(0);
        let valkey = !text("valkey_version").is_empty();
        let version = text(if valkey { "valkey_version" } else { "redis_version" });
        let appendonly = text("aof_enabled") == "1";
        Self {
            flavour: if valkey { "valkey" } else { "redis" }.to_owned(),
            version: version.to_owned(),
            eviction_policy: text("maxmemory_policy").to_owned(),
            appendonly,
            waitaof: appendonly && (valkey || at_least(version, 7, 2)),
            maxmemory_bytes: number("maxmemory"),
            total_system_memory_bytes: number("total_system_memory"),
            used_memory_bytes: number("used_memory"),
            is_master: text("role") == "master",
        }
    }
}

fn at_least(version: &str, major: u32, minor: u32) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
}

impl Redis {
    /// Asks Redis about itself. The caller decides with [`Preflight::check`].
    ///
    /// # Errors
    /// Those of a command.
    pub async fn preflight(&self) -> Result<Preflight, RedisError> {
        let info: String = self.query(&redis::cmd("INFO")).await?;
        Ok(Preflight::parse(&info))
    }

    /// The bytes that Redis uses now (`used_memory`), for a bound checked many times a second.
    ///
    /// # Errors
    /// Those of a command.
    pub async fn used_memory_bytes(&self) -> Result<u64, RedisError> {
        let info: String = self.query(redis::cmd("INFO").arg("memory")).await?;
        Ok(Preflight::parse(&info).used_memory_bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const REDIS_70: &str = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nused_memory:900\r\nmaxmemory:1000\r\n\
        maxmemory_policy:noeviction\r\ntotal_system_memory:5000\r\n# Persistence\r\naof_enabled:1\r\nrole:master\r\n";

    #[test]
    fn redis_7_0_may_serve_without_waitaof() {
        let seen = Preflight::parse(REDIS_70);
        assert_eq!(seen.check(), Ok(()));
        assert!(seen.appendonly && !seen.waitaof && seen.is_master);
        assert_eq!(seen.default_bytes_max(), Some(800));
        assert!(seen.warnings().is_empty());
    }

    #[test]
    fn an_old_redis_and_an_evicting_one_are_refused() {
        let old = Preflight::parse(&REDIS_70.replace("7.0.15", "6.2.14"));
        assert_eq!(old.check(), Err(Refusal::TooOld("6.2.14".into())));
        let evicting = Preflight::parse(&REDIS_70.replace("noeviction", "allkeys-lru"));
        assert_eq!(evicting.check(), Err(Refusal::Evicts("allkeys-lru".into())));
    }

    #[test]
    fn valkey_counts_by_its_own_version() {
        let info = "redis_version:7.2.4\nserver_name:valkey\nvalkey_version:8.0.1\nmaxmemory_policy:noeviction\naof_enabled:0\n";
        let seen = Preflight::parse(info);
        assert_eq!((seen.flavour.as_str(), seen.version.as_str()), ("valkey", "8.0.1"));
        assert_eq!(seen.check(), Ok(()));
        assert_eq!(seen.warnings().len(), 1);
        assert_eq!(seen.default_bytes_max(), None);
    }
}
