//! Names of the summary counters: accepted events per minute, hour and day (UTC).

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The current three names, formatted once a minute.
pub(crate) struct SummaryKeys {
    prefix: String,
    current: Mutex<(i64, [String; 3])>,
}

impl SummaryKeys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), current: Mutex::new((-1, Default::default())) }
    }

    pub(crate) fn now(&self) -> [String; 3] {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let minute = seconds.div_euclid(60);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != minute {
            *current = (minute, summary_keys(&self.prefix, seconds));
        }
        current.1.clone()
    }
}

/// The counters `<prefix>:1m:YYYY-MM-DDTHH:MM`, `:1h:YYYY-MM-DDTHH` and `:24h:YYYY-MM-DD` of a
/// unix time in seconds.
pub fn summary_keys(prefix: &str, unix_s: i64) -> [String; 3] {
    let time = jiff::Timestamp::from_second(unix_s).unwrap_or_default();
    [
        format!("{prefix}:1m:{}", time.strftime("%Y-%m-%dT%H:%M")),
        format!("{prefix}:1h:{}", time.strftime("%Y-%m-%dT%H")),
        format!("{prefix}:24h:{}", time.strftime("%Y-%m-%d")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        assert_eq!(
            summary_keys("mutt:metrics", 1_700_000_000),
            ["mutt:metrics:1m:2023-11-14T22:13", "mutt:metrics:1h:2023-11-14T22", "mutt:metrics:24h:2023-11-14"]
        );
    }
}
