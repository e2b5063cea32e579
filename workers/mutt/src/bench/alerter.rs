//! The alerter with everything audited, against a bare COPY of the same rows.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mutt_queue::{Keys, Redis, RedisSettings, redis::cmd};
use mutt_rules::synthetic;
use mutt_servers::{PostgresOptions, PostgresServer, free_port};
use sqlx::PgPool;
use tokio::time::sleep;

use super::{
    Plan,
    copy::bare_copy,
    ingest::redis,
    process::{Memory, ROLE_CORE, RoleProcess, SERVER_CORE, pin},
    report::{Row, grouped, memory_row},
    samples::{SEED, queued},
};
use crate::worker::Fatal;

/// Events laid out before the alerter may turn; about three seconds of work.
const EVENTS: usize = 200_000;
/// Values of one LPUSH while the queue is filled.
const FILL: usize = 500;

struct Figures {
    /// Rows audited per second.
    rate: f64,
    /// Rows per second of the bare COPY.
    limit: f64,
    /// CPU of the alerter per event.
    cpu: Duration,
    memory: Memory,
}

pub(super) async fn measure(plan: Plan) -> Result<Vec<Row>, Fatal> {
    let figures = plan.median(async || one_run(1_000).await, |figures| figures.rate / figures.limit).await?;
    let many = one_run(10_000).await?;
    let share = figures.rate / figures.limit;
    let micros = figures.cpu.as_secs_f64() * 1e6;
    Ok(vec![
        Row {
            what: "alerter, 1,000 rules, all audited, share of a bare COPY".into(),
            measured: format!("{:.0} % ({} rows/s)", share * 100.0, grouped(figures.rate)),
            limit: format!("COPY: {} rows/s", grouped(figures.limit)),
            goal: "≥ 80 %".into(),
            met: share >= 0.8,
        },
        Row {
            what: "alerter, the same, CPU per event".into(),
            measured: format!("{micros:.1} µs"),
            limit: String::new(),
            goal: "≤ 8 µs".into(),
            met: micros <= 8.0,
        },
        memory_row("alerter, 1,000 rules", figures.memory, 64.0),
        memory_row("alerter, 10,000 rules", many.memory, 256.0),
    ])
}

async fn one_run(rules: usize) -> Result<Figures, Fatal> {
    let port = || free_port().map_err(|error| Fatal::failed("no free port", error));
    let redis_server = redis().await?;
    pin(redis_server.pid(), ROLE_CORE);
    let postgres = postgres().await?;
    let url =
        postgres.create_database("bench").await.map_err(|error| Fatal::failed("cannot make a database", error))?;
    let (health, metrics) = (port()?, port()?);
    let settings = BTreeMap::from([
        ("REDIS_URL", redis_server.url()),
        ("DATABASE_URL", url.clone()),
        ("HEALTH_PORT_ALERTER", health.to_string()),
        ("METRICS_PORT_ALERTER", metrics.to_string()),
        ("RULES_SOURCE", "redis".to_owned()),
    ]);
    let client = Redis::new(RedisSettings::new("127.0.0.1", redis_server.port()));
    let keys = Keys::new("mutt");
    prepare(&url, &client, &keys, rules).await?;
    let mut role = RoleProcess::start("alerter", &settings)?;
    role.ready(health).await?;
    role.freeze();
    fill(&client, &keys.ingest_queue, synthetic::events(EVENTS, rules, SEED).iter().map(queued)).await?;
    let before = role.cpu();
    let memory = role.watch_memory();
    let start = Instant::now();
    role.thaw();
    drained(&client, &keys.ingest_queue, &keys.leases_alerter).await?;
    let elapsed = start.elapsed();
    let cpu = role.cpu().saturating_sub(before) / EVENTS as u32;
    let memory = memory.end()?;
    drop(role);
    let (rows, bare) = bare_copy(&url).await?;
    if rows < EVENTS as u64 {
        return Err(Fatal::Refused(format!("only {rows} of {EVENTS} events were audited")));
    }
    Ok(Figures { rate: EVENTS as f64 / elapsed.as_secs_f64(), limit: rows as f64 / bare.as_secs_f64(), cpu, memory })
}

/// A durable PostgreSQL whose processes are on the server's core.
pub(super) async fn postgres() -> Result<PostgresServer, Fatal> {
    let options = PostgresOptions::new().durable().setting("max_wal_size", "8GB").setting("checkpoint_timeout", "1h");
    let postgres = options.start().await.map_err(|error| Fatal::failed("cannot start PostgreSQL", error))?;
    pin(postgres.pid(), SERVER_CORE);
    Ok(postgres)
}

/// Migrates the database and publishes a synthetic rule set.
pub(super) async fn prepare(url: &str, client: &Redis, keys: &Keys, rules: usize) -> Result<(), Fatal> {
    let pool = PgPool::connect(url).await.map_err(|error| Fatal::failed("cannot connect to PostgreSQL", error))?;
    crate::db::migrate(&pool).await.map_err(|error| Fatal::failed("cannot migrate", error))?;
    pool.close().await;
    let set = synthetic::rules(rules, SEED);
    crate::rulesource::publish_bundle(client, keys, 1, &set)
        .await
        .map_err(|error| Fatal::failed("cannot publish rules", error))?;
    Ok(())
}

/// Puts values at the head of a list.
pub(super) async fn fill(client: &Redis, key: &str, values: impl Iterator<Item = String>) -> Result<(), Fatal> {
    let values: Vec<_> = values.collect();
    for chunk in values.chunks(FILL) {
        let mut push = cmd("LPUSH");
        push.arg(key).arg(chunk);
        client.query::<u64>(&push).await.map_err(|error| Fatal::failed("cannot fill the queue", error))?;
    }
    Ok(())
}

/// Returns when a queue is empty and no lease of it is left.
pub(super) async fn drained(client: &Redis, queue: &str, leases: &str) -> Result<(), Fatal> {
    const POLL: Duration = Duration::from_millis(5);
    const LIMIT: Duration = Duration::from_secs(300);
    let start = Instant::now();
    let failed = |error| Fatal::failed("cannot read the queue's depth", error);
    loop {
        let waiting: u64 = client.query(cmd("LLEN").arg(queue)).await.map_err(failed)?;
        if waiting == 0 && client.query::<u64>(cmd("ZCARD").arg(leases)).await.map_err(failed)? == 0 {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            return Err(Fatal::Refused(format!("{queue} still holds {waiting} after {} s", LIMIT.as_secs())));
        }
        sleep(POLL).await;
    }
}
