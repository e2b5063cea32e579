//! Settings changed at run time: the hash `mutt:settings` (CONTRACT sections 2 and 8).

use std::collections::BTreeMap;
use std::time::Duration;

use mutt_queue::ForwarderBeat;
use mutt_queue::moog::{BreakerPolicy, Rate};

use crate::settings::ForwarderSettings;

/// What may change while a forwarder runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Live {
    /// Shared rate limit.
    pub(crate) rate: Rate,
    /// Shared breaker.
    pub(crate) breaker: BreakerPolicy,
}

impl Live {
    /// What a forwarder's heartbeat says.
    pub(crate) fn beat(&self, started: &str) -> String {
        let Rate { limit, period } = self.rate;
        ForwarderBeat { started: started.to_owned(), rate_limit: limit, rate_period: period.as_secs_f64() }.text()
    }
}

/// What the environment says.
pub(crate) fn from_settings(settings: &ForwarderSettings) -> Live {
    Live {
        rate: Rate { limit: settings.rate_limit, period: settings.rate_period },
        breaker: BreakerPolicy {
            threshold: if settings.breaker_enabled { settings.breaker_threshold } else { 0 },
            timeout: settings.breaker_timeout,
        },
    }
}

/// The environment's values with those changed at run time; a value that cannot be read changes nothing,
/// and a breaker that is switched off stays off.
pub(crate) fn with_changes(environment: Live, changed: &BTreeMap<String, String>) -> Live {
    let count = |name: &str| changed.get(name).and_then(|value| value.trim().parse::<u64>().ok());
    let seconds = |name: &str| {
        let value = changed.get(name)?.trim().parse::<f64>().ok()?;
        Duration::try_from_secs_f64(value).ok().filter(|time| *time >= Duration::from_millis(1))
    };
    let Live { rate, breaker } = environment;
    let threshold = count("circuit_breaker_threshold").filter(|threshold| *threshold > 0);
    Live {
        rate: Rate {
            limit: count("moog_rate_limit").unwrap_or(rate.limit),
            period: seconds("moog_rate_period").unwrap_or(rate.period),
        },
        breaker: BreakerPolicy {
            threshold: threshold.filter(|_| breaker.threshold > 0).unwrap_or(breaker.threshold),
            timeout: seconds("circuit_breaker_timeout").unwrap_or(breaker.timeout),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_win_where_they_can_be_read() {
        let environment = Live {
            rate: Rate { limit: 50, period: Duration::from_secs(1) },
            breaker: BreakerPolicy { threshold: 10, timeout: Duration::from_mins(5) },
        };
        let changes = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let all = changes(&[
            ("moog_rate_limit", "0"),
            ("moog_rate_period", "2.5"),
            ("circuit_breaker_threshold", "3"),
            ("circuit_breaker_timeout", "7"),
        ]);
        let live = with_changes(environment, &all);
        assert_eq!(live.rate, Rate { limit: 0, period: Duration::from_millis(2500) });
        assert_eq!(live.breaker, BreakerPolicy { threshold: 3, timeout: Duration::from_secs(7) });
        let bad = changes(&[
            ("moog_rate_limit", "-1"),
            ("moog_rate_period", "0"),
            ("circuit_breaker_threshold", "0"),
            ("circuit_breaker_timeout", "x"),
        ]);
        assert_eq!(with_changes(environment, &bad), environment);
        let off = Live { breaker: BreakerPolicy { threshold: 0, ..environment.breaker }, ..environment };
        assert_eq!(with_changes(off, &all).breaker.threshold, 0);
    }
}
