//! The worker's second thread: ports, leases, heartbeat, rules, gauges. It goes on while the main loop matches.

use std::sync::Arc;
use std::time::Duration;

use mutt_queue::{Keys, Leases, Redis, Role, Totals, WorkerId, heartbeat};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::board::Board;
use crate::connect;
use crate::db::partition_state;
use crate::rulesource::{Keeper, Source};
use crate::server::serve_ports;
use crate::settings::{AlerterSettings, RulesSource};
use crate::worker::{Context, Fatal, Shutdown};

/// A main loop that has not turned for so long may be stuck: its leases lapse, its heartbeat ends.
const TURN_MAX: Duration = Duration::from_secs(20);
/// Renewals per lease length.
const RENEWALS: u32 = 3;
const PULSE: Duration = Duration::from_secs(1);
const GAUGES: Duration = Duration::from_secs(5);
const PARTITIONS: Duration = Duration::from_mins(1);

/// What the second thread works with; made on the main thread, used on the second.
pub(crate) struct Second {
    /// Settings of the role.
    pub settings: AlerterSettings,
    /// Secrets, registry, signals.
    pub context: Context,
    /// Shared with the main thread.
    pub board: Arc<Board>,
    /// Names.
    pub keys: Arc<Keys>,
    /// The worker's name.
    pub worker: WorkerId,
    /// Asked for when the main thread has drained.
    pub end: Shutdown,
    /// Told once both ports listen, or why one does not.
    pub listening: oneshot::Sender<Result<(), Fatal>>,
}

impl Second {
    /// Runs until the end is asked for or a task ends, which none does otherwise.
    pub(crate) async fn run(self) {
        let Self { settings, context, board, keys, worker, end, listening } = self;
        let redis = Redis::new(connect::redis(&settings.redis, &context.secrets));
        let mut database = settings.database.clone();
        // The lanes have the rest.
        database.pool_max = database.pool_max.saturating_sub(settings.lanes as u32).clamp(1, 3);
        database.pool_min = database.pool_min.min(1);
        let pool = connect::postgres(&database, &context.secrets, &end);
        let mut tasks = JoinSet::new();
        let metrics_at = (settings.metrics_port, &context.registry);
        let health_at = (settings.health_port, &board.health);
        match serve_ports(metrics_at, health_at, settings.common.tls.as_ref(), &end, &mut tasks).await {
            Ok(()) => drop(listening.send(Ok(()))),
            Err(error) => return drop(listening.send(Err(error))),
        }
        let leases = Leases::new(redis.clone(), keys.clone(), Role::Alerter, worker.clone(), settings.lease);
        tasks.spawn(renew(leases, board.clone(), settings.lease / RENEWALS));
        tasks.spawn(beat(redis.clone(), keys.clone(), worker.clone(), board.clone(), settings.heartbeat_interval));
        tasks.spawn(pulse(redis.clone(), pool.clone(), board.clone()));
        tasks.spawn(gauges(redis.clone(), keys.clone(), board.clone()));
        tasks.spawn(partitions(pool.clone(), board.clone()));
        let keeper = Keeper {
            source: match &settings.rules_source {
                RulesSource::Postgres => Source::Postgres(pool.clone()),
                RulesSource::Directory(path) => Source::Directory(path.clone()),
                RulesSource::Redis => Source::Redis,
            },
            redis,
            keys,
            worker,
            active: board.active.clone(),
            triggers: board.triggers.clone(),
            poll_interval: settings.rules_poll_interval,
            full_interval: settings.reload_interval,
            events: board.metrics.clone(),
        };
        tasks.spawn(keeper.run());
        let mut reload = context.reload.clone();
        tasks.spawn(async move {
            loop {
                reload.requested().await;
                board.triggers.reload();
            }
        });
        tokio::select! {
            // The ports' tasks end with it, too.
            biased;
            () = end.requested() => {}
            ended = tasks.join_next() => tracing::error!(?ended, "a task of the second thread ended"),
        }
    }
}

async fn renew(leases: Leases, board: Arc<Board>, every: Duration) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let held = board.leases();
        if held.is_empty() || board.health.since_turn() > TURN_MAX {
            continue;
        }
        match leases.renew(&held).await {
            Ok(still) => {
                for (lease, _) in held.iter().zip(still).filter(|(_, still)| !still) {
                    // Finished a moment ago, or taken over: in both cases nothing is left to renew.
                    board.release(lease);
                }
            }
            Err(error) => board.redis.down(error),
        }
    }
}

async fn beat(redis: Redis, keys: Arc<Keys>, worker: WorkerId, board: Arc<Board>, every: Duration) {
    let started = jiff::Timestamp::now().to_string();
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if board.health.since_turn() <= TURN_MAX
            && let Err(error) = heartbeat::beat(&redis, &keys, Role::Alerter, &worker, &started).await
        {
            board.redis.down(error);
        }
    }
}

/// Looks whether Redis and PostgreSQL answer, since an idle worker would not notice.
async fn pulse(redis: Redis, pool: PgPool, board: Arc<Board>) {
    let mut tick = interval(PULSE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match redis.ping().await {
            Ok(()) => board.redis.up(),
            Err(error) => board.redis.down(error),
        }
        // The table rather than SELECT 1: without the schema nothing can be audited.
        let answer = sqlx::query("SELECT FROM audit_batch LIMIT 0").execute(&pool).await;
        board.metrics.postgres_up.set(i64::from(answer.is_ok()));
        match answer {
            Ok(_) => board.postgres.up(),
            Err(error) => board.postgres.down(describe(&error)),
        }
    }
}

/// The error, with what to do where the schema is missing (SQLSTATE 42P01).
pub(crate) fn describe(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.as_deref() == Some("42P01") { format!("{error}; run `mutt db migrate`") } else { error.to_string() }
}

async fn gauges(redis: Redis, keys: Arc<Keys>, board: Arc<Board>) {
    let mut tick = interval(GAUGES);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let metrics = &board.metrics;
        metrics.tick();
        if let Some(active) = board.active.load_full() {
            metrics.rules_suspended.set(active.compiled.suspended(board.started.elapsed().as_secs()).len() as i64);
            metrics.step_limit_hits.set(active.compiled.step_limit_hits() as i64);
        }
        match Totals::read(&redis, &keys).await {
            Ok(totals) => {
                metrics.queues.set(&totals);
                metrics.queue_depth.set(totals.alert_queue);
                metrics.dlq_depth.set(totals.dlq_alerter);
                metrics.processing_list_depth.set(totals.in_flight);
            }
            Err(error) => {
                if metrics.queues.unknown() {
                    for gauge in [&metrics.queue_depth, &metrics.dlq_depth, &metrics.processing_list_depth] {
                        gauge.set(0);
                    }
                }
                board.redis.down(error);
            }
        }
    }
}

async fn partitions(pool: PgPool, board: Arc<Board>) {
    let mut tick = interval(PARTITIONS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // While PostgreSQL is away the last values stand; its absence has an alarm of its own.
        if let Ok(state) = partition_state(&pool).await {
            board.metrics.default_partition_used.set(i64::from(state.default_used));
            board.metrics.partitions_missing.set(state.months_missing);
        }
    }
}
