//! When a failed reconcile is tried again: by class, growing per pipeline, forgotten at the first success.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kube::{ResourceExt, runtime::controller::Action};

use super::{
    LOOK_AT_AILING_EVERY,
    error::{Class, Failure},
    watch::Stored,
};

/// First pause after a failure that may pass.
const FIRST: Duration = Duration::from_secs(1);
/// Longest one: an outage that is over should be noticed within a minute.
const LONGEST: Duration = Duration::from_secs(60);
/// Two writers at the same moment do not meet again.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);
/// More conflicts in a row than these are no coincidence.
const CONFLICTS_MAX: u32 = 5;

/// Failures in a row, by the pipeline's UID.
#[derive(Default)]
pub(super) struct Retries(Mutex<HashMap<String, u32>>);

impl Retries {
    /// The next attempt after a failure.
    pub(super) fn after(&self, pipeline: &Stored, failure: &Failure) -> Action {
        match failure.class() {
            Class::User if failure.ailing => Action::requeue(LOOK_AT_AILING_EVERY),
            Class::User => Action::await_change(),
            Class::Surroundings => Action::requeue(LOOK_AT_AILING_EVERY),
            class @ (Class::Conflict | Class::Transient | Class::Bug) => {
                Action::requeue(self.pause(&pipeline.uid().unwrap_or_default(), class))
            }
        }
    }

    /// It went well.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    fn pause(&self, uid: &str, class: Class) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        let before = *count;
        *count = count.saturating_add(1);
        let pause = match (class, before.checked_sub(CONFLICTS_MAX)) {
            (Class::Conflict, None) => return AFTER_CONFLICT,
            (Class::Conflict, Some(more)) => grown(more),
            _ => grown(before),
        };
        // Between half and all of it, so that many pipelines do not come back at the same moment.
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

fn grown(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.min(30))).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_begin_anew_after_a_success() {
        assert_eq!((0..8).map(|failures| grown(failures).as_secs()).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(grown(u32::MAX), LONGEST);
        let retries = Retries::default();
        for _ in 0..10 {
            assert!(retries.pause("u", Class::Transient) <= LONGEST);
        }
        assert!(retries.pause("u", Class::Transient) >= LONGEST / 2);
        retries.forget("u");
        assert!(retries.pause("u", Class::Transient) <= FIRST);
    }

    #[test]
    fn a_conflict_is_tried_again_at_once_but_not_for_ever() {
        let retries = Retries::default();
        for _ in 0..CONFLICTS_MAX {
            assert_eq!(retries.pause("u", Class::Conflict), AFTER_CONFLICT);
        }
        assert!(retries.pause("u", Class::Conflict) >= FIRST / 2);
        for _ in 0..10 {
            retries.pause("u", Class::Conflict);
        }
        assert!(retries.pause("u", Class::Conflict) >= LONGEST / 2);
    }
}
