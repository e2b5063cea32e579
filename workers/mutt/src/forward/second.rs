//! The second thread: ports, heartbeat, janitor, gauges, settings changed at run time.

use std::sync::Arc;
use std::time::Duration;

use mutt_queue::moog::MoogQueue;
use mutt_queue::{Keys, Redis, Role, Totals, WorkerId, heartbeat, settings as changed_settings};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::delivery::timestamp;
use super::live::{self, Live};
use super::metrics::Metrics;
use crate::connect;
use crate::server::{Dependency, Health, serve_ports};
use crate::settings::ForwarderSettings;
use crate::worker::{Context, Fatal, Shutdown};

/// A main loop that has not turned for so long may be stuck: its heartbeat ends.
const TURN_MAX: Duration = Duration::from_secs(20);
/// How often an idle worker looks whether Redis answers.
const PULSE: Duration = Duration::from_secs(1);
/// Gauges and changed settings (CONTRACT section 2).
const READ_EVERY: Duration = Duration::from_secs(5);
/// How often lapsed leases are looked for.
const JANITOR: Duration = Duration::from_secs(2);

/// What the second thread works with.
pub(crate) struct Second {
    /// Settings of the role.
    pub(crate) settings: ForwarderSettings,
    /// Secrets, registry, signals.
    pub(crate) context: Context,
    /// Shared with the main thread.
    pub(crate) health: Health,
    /// Redis' part of it.
    pub(crate) redis_state: Dependency,
    /// Metrics.
    pub(crate) metrics: Metrics,
    /// Names.
    pub(crate) keys: Arc<Keys>,
    /// The worker's name.
    pub(crate) worker: WorkerId,
    /// Settings changed at run time, for the main thread.
    pub(crate) live: watch::Sender<Live>,
    /// Asked for when the main thread has drained.
    pub(crate) end: Shutdown,
    /// Told once both ports listen, or why one does not.
    pub(crate) listening: oneshot::Sender<Result<(), Fatal>>,
}

impl Second {
    /// Runs until the end is asked for or a task ends, which none does otherwise.
    pub(crate) async fn run(self) {
        let Self { settings, context, health, redis_state, metrics, keys, worker, live, end, listening } = self;
        let redis = Redis::new(connect::redis(&settings.redis, &context.secrets));
        let mut tasks = JoinSet::new();
        let metrics_at = (settings.metrics_port, &context.registry);
        let health_at = (settings.health_port, &health);
        match serve_ports(metrics_at, health_at, settings.common.tls.as_ref(), &end, &mut tasks).await {
            Ok(()) => drop(listening.send(Ok(()))),
            Err(error) => return drop(listening.send(Err(error))),
        }
        let queue = MoogQueue::new(redis.clone(), keys.clone(), worker.clone());
        tasks.spawn(janitor(queue, redis_state.clone()));
        tasks.spawn(beat(
            redis.clone(),
            keys.clone(),
            worker,
            health,
            redis_state.clone(),
            settings.heartbeat_interval,
            live.subscribe(),
        ));
        tasks.spawn(pulse(redis.clone(), redis_state.clone()));
        tasks.spawn(read(redis, keys, metrics, live, live::from_settings(&settings), redis_state));
        tokio::select! {
            // First, since the ports' tasks end by it too.
            biased;
            () = end.requested() => {}
            ended = tasks.join_next() => tracing::error!(?ended, "a task of the second thread ended"),
        }
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Alerts of forwarders that died come back; at once at the start, then every few seconds.
async fn janitor(queue: MoogQueue, state: Dependency) {
    let mut tick = ticks(JANITOR);
    loop {
        tick.tick().await;
        loop {
            match queue.return_lapsed().await {
                Ok(0) => break,
                Ok(alerts) => tracing::warn!(alerts, "leases lapsed: alerts are back in the queue"),
                Err(error) => {
                    state.down(error);
                    break;
                }
            }
        }
    }
}

async fn beat(
    redis: Redis,
    keys: Arc<Keys>,
    worker: WorkerId,
    health: Health,
    state: Dependency,
    every: Duration,
    live: watch::Receiver<Live>,
) {
    let started = timestamp();
    let mut tick = ticks(every);
    loop {
        tick.tick().await;
        let says = live.borrow().beat(&started);
        if health.since_turn() <= TURN_MAX
            && let Err(error) = heartbeat::beat(&redis, &keys, Role::Moog, &worker, &says).await
        {
            state.down(error);
        }
    }
}

async fn pulse(redis: Redis, state: Dependency) {
    let mut tick = ticks(PULSE);
    loop {
        tick.tick().await;
        match redis.ping().await {
            Ok(()) => state.up(),
            Err(error) => state.down(error),
        }
    }
}

/// Gauges, and settings changed at run time.
async fn read(
    redis: Redis,
    keys: Arc<Keys>,
    metrics: Metrics,
    live: watch::Sender<Live>,
    environment: Live,
    state: Dependency,
) {
    let mut tick = ticks(READ_EVERY);
    loop {
        tick.tick().await;
        match changed_settings::read(&redis, &keys).await {
            Ok(changed) => {
                let now = live::with_changes(environment, &changed);
                let is_new = live.send_if_modified(|before| std::mem::replace(before, now) != now);
                if is_new {
                    tracing::info!(?now, "settings changed");
                }
            }
            Err(error) => state.down(error),
        }
        match Totals::read(&redis, &keys).await {
            Ok(totals) => {
                metrics.queues.set(&totals);
                metrics.queue_depth.set(totals.alert_queue);
                metrics.dlq_depth.set(totals.dlq_moog);
                metrics.processing_depth.set(totals.alerts_in_flight);
            }
            Err(error) => {
                if metrics.queues.unknown() {
                    metrics.forget_shared();
                }
                state.down(error);
            }
        }
    }
}
