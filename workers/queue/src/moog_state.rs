//! What all forwarders share, as people want to see it: breaker, pause, rate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moog::Rate;
use crate::moog_reply::BreakerState;
use crate::{Keys, Redis, RedisError, Role, Script, heartbeat};

static STATE: Script = Script::new(include_str!("lua/moog_state.lua"));

/// What a forwarder's heartbeat says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwarderBeat {
    /// Since when it runs, RFC 3339.
    pub started: String,
    /// Alerts per period over all forwarders; 0 = no limit.
    pub rate_limit: u64,
    /// Length of the period in seconds.
    pub rate_period: f64,
}

impl ForwarderBeat {
    /// The text of the heartbeat.
    pub fn text(&self) -> String {
        // A struct of a text and numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn rate(&self) -> Option<Rate> {
        let period = Duration::try_from_secs_f64(self.rate_period).ok().filter(|period| !period.is_zero())?;
        Some(Rate { limit: self.rate_limit, period })
    }
}

/// The shared state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoogState {
    /// Names of the live forwarders.
    pub alive: Vec<String>,
    /// The breaker.
    pub breaker: BreakerState,
    /// Failures in a row.
    pub failures: u64,
    /// Since the breaker opened last; of no meaning while it is closed.
    pub opened_for: Duration,
    /// The time until the next probe while key or URL are refused.
    pub paused: Option<Duration>,
    /// The rate limit that live forwarders keep; `None` if none of them says.
    pub rate: Option<Rate>,
    /// Alerts granted within the last period.
    pub granted: u64,
}

impl MoogState {
    /// Reads it.
    ///
    /// # Errors
    /// Those of a command.
    pub async fn read(redis: &Redis, keys: &Keys) -> Result<Self, RedisError> {
        let alive = heartbeat::alive(redis, keys, Role::Moog).await?;
        let rate = if alive.is_empty() {
            None
        } else {
            let beats: Vec<String> = alive.iter().map(|worker| keys.heartbeat(Role::Moog, worker)).collect();
            let said: Vec<Option<String>> = redis.query(redis::cmd("MGET").arg(&beats)).await?;
            said.iter().flatten().find_map(|text| serde_json::from_str::<ForwarderBeat>(text).ok()?.rate())
        };
        let mut call = STATE.call(&[
            &keys.breaker("state"),
            &keys.breaker("opened_at"),
            &keys.breaker("failures"),
            &keys.pause_moog,
            &keys.rate_limit_moog,
        ]);
        let period = rate.map_or(Duration::from_secs(1), |rate| rate.period);
        call.arg(period.as_micros().to_string());
        let (state, failures, opened_ms, paused, probe_ms, granted): (String, u64, u64, bool, u64, u64) =
            redis.run_as(&call).await?;
        Ok(Self {
            alive: alive.iter().map(|worker| worker.as_str().to_owned()).collect(),
            breaker: BreakerState::parse(&state),
            failures,
            opened_for: Duration::from_millis(opened_ms),
            paused: paused.then_some(Duration::from_millis(probe_ms)),
            rate,
            granted,
        })
    }
}
