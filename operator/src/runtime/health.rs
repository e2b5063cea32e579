//! Whether the operator turns (liveness) and whether it can do its work (readiness). Neither asks Redis or a pipeline:
//! their troubles stand in a pipeline's status and restart nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A piece of work that lasts this long is stuck: one reconcile takes milliseconds, and the client gives up a request that
/// has no answer after 30 s.
const STUCK_AFTER: Duration = Duration::from_secs(600);
/// How often the runtime shows that it turns.
const TURN_EVERY: Duration = Duration::from_secs(1);
/// A runtime that has not turned for this long is stuck.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);

/// What the process knows of itself. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Mutex<State>>);

struct State {
    turned: Instant,
    next_work: u64,
    /// Work under way: task and begin.
    work: BTreeMap<u64, (&'static str, Instant)>,
    /// Every task that ever worked, so that an idle one is reported as such.
    tasks: BTreeSet<&'static str>,
    /// What readiness still waits for, in words.
    waits: BTreeMap<&'static str, String>,
}

/// One piece of work under way; it ends with this value.
pub struct Work {
    health: Health,
    id: u64,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.health.state().work.remove(&self.id);
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Turning, and ready as nothing is waited for.
    pub fn new() -> Self {
        let state = State {
            turned: Instant::now(),
            next_work: 0,
            work: BTreeMap::new(),
            tasks: BTreeSet::new(),
            waits: BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// `task` begins a piece of work.
    pub fn begin(&self, task: &'static str) -> Work {
        let mut state = self.state();
        let id = state.next_work;
        state.next_work += 1;
        state.tasks.insert(task);
        state.work.insert(id, (task, Instant::now()));
        Work { health: self.clone(), id }
    }

    /// The process is not ready until [`Health::done`] of the same `what`; `reason` stands in the answer.
    pub fn wait_for(&self, what: &'static str, reason: impl Into<String>) {
        self.state().waits.insert(what, reason.into());
    }

    /// `what` is waited for no longer.
    pub fn done(&self, what: &'static str) {
        self.state().waits.remove(what);
    }

    /// Whatever was waited for no longer matters.
    pub fn wait_for_nothing(&self) {
        self.state().waits.clear();
    }

    /// Shows each second that the runtime turns.
    pub async fn turn(self) -> Result<(), Infallible> {
        loop {
            tokio::time::sleep(TURN_EVERY).await;
            self.state().turned = Instant::now();
        }
    }

    /// `Err` = the process is stuck and should be restarted, with the reason.
    pub fn live(&self) -> Result<(), String> {
        self.live_at(Instant::now())
    }

    fn live_at(&self, now: Instant) -> Result<(), String> {
        let state = self.state();
        let since_turn = now.saturating_duration_since(state.turned);
        if let Some((task, begun)) = state.work.values().min_by_key(|(_, begun)| *begun) {
            let since = now.saturating_duration_since(*begun);
            if since > STUCK_AFTER {
                return Err(format!("{task}: at the same piece of work for {} s", since.as_secs()));
            }
        }
        if since_turn > TURN_TIMEOUT {
            return Err(format!("the runtime has not turned for {} s", since_turn.as_secs()));
        }
        Ok(())
    }

    /// `Err` = not ready, with the reason.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.state();
        if state.waits.is_empty() {
            return Ok(());
        }
        Err(state.waits.iter().map(|(what, reason)| format!("{what}: {reason}")).collect::<Vec<_>>().join("; "))
    }

    /// How long each task has been at its oldest piece of work.
    pub fn progress(&self) -> BTreeMap<&'static str, Duration> {
        let state = self.state();
        let mut progress: BTreeMap<_, _> = state.tasks.iter().map(|task| (*task, Duration::ZERO)).collect();
        progress.insert("runtime", state.turned.elapsed());
        for (task, begun) in state.work.values() {
            let oldest = progress.entry(task).or_default();
            *oldest = (*oldest).max(begun.elapsed());
        }
        progress
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn ready_says_what_it_waits_for() {
        let health = Health::new();
        assert_eq!(health.ready(), Ok(()));
        health.wait_for("custom resources", "not installed");
        health.wait_for("rules", "not read yet");
        assert_eq!(health.ready().unwrap_err(), "custom resources: not installed; rules: not read yet");
        health.done("custom resources");
        health.done("rules");
        assert_eq!(health.ready(), Ok(()));
    }

    #[test]
    fn work_is_stuck_only_while_it_lasts() {
        let health = Health::new();
        let work = health.begin("pipeline");
        assert_eq!(health.live(), Ok(()));
        let later = Instant::now() + STUCK_AFTER * 2;
        assert!(health.live_at(later).unwrap_err().starts_with("pipeline: "));
        drop(work);
        assert!(health.live_at(later).unwrap_err().starts_with("the runtime"));
        health.state().turned = later;
        assert_eq!(health.live_at(later), Ok(()));
        assert_eq!(health.progress()["pipeline"], Duration::ZERO);
    }
}
