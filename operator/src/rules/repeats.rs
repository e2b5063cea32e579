//! Pauses between writes of the same status: whatever undoes what is written, an endless loop of writes does not come of it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use mutt_crds::AlertRuleStatus;
use tokio::time::Instant;

/// First and longest pause.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What was written last, by rule.
#[derive(Debug, Default)]
pub(super) struct Repeats(HashMap<String, Last>);

#[derive(Debug)]
struct Last {
    said: u64,
    at: Instant,
    pause: Duration,
}

impl Repeats {
    /// Takes note of a write, or says when it may be made.
    pub(super) fn not_before(
        &mut self,
        name: &str,
        uid: &str,
        status: &AlertRuleStatus,
        now: Instant,
    ) -> Option<Instant> {
        let said = hash(uid, status);
        let pause = match self.0.get(name).filter(|last| last.said == said) {
            Some(last) if now < last.at + last.pause => return Some(last.at + last.pause),
            // It held for a while.
            Some(last) if now < last.at + 2 * PAUSE.1 => (2 * last.pause).min(PAUSE.1),
            _ => PAUSE.0,
        };
        self.0.insert(name.to_owned(), Last { said, at: now, pause });
        None
    }

    /// The rule is gone.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Of what a status says; the times follow from what was there before.
fn hash(uid: &str, status: &AlertRuleStatus) -> u64 {
    let mut hasher = DefaultHasher::new();
    (uid, status.observed_generation).hash(&mut hasher);
    for condition in &status.conditions {
        (&condition.type_, &condition.status, &condition.reason, &condition.message).hash(&mut hasher);
    }
    for pipeline in &status.pipelines {
        (&pipeline.name, &pipeline.hash, &pipeline.active).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_again_waits_longer_each_time_and_something_else_does_not() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let status = |generation| AlertRuleStatus { observed_generation: Some(generation), ..Default::default() };
        let second = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(repeats.not_before("ns/a", "u", &status(1), start), None);
        assert_eq!(repeats.not_before("ns/a", "u", &status(1), start), Some(second(1)));
        assert_eq!(repeats.not_before("ns/b", "u", &status(1), start), None, "another rule");
        assert_eq!(repeats.not_before("ns/a", "u", &status(1), second(1)), None);
        assert_eq!(repeats.not_before("ns/a", "u", &status(1), second(2)), Some(second(3)));
        assert_eq!(repeats.not_before("ns/a", "u", &status(2), second(2)), None);
        assert_eq!(repeats.not_before("ns/a", "v", &status(2), second(2)), None, "another object");
        repeats.forget("ns/a");
        assert_eq!(repeats.not_before("ns/a", "v", &status(2), second(2)), None);
    }
}
