//! What an event costs each part of a pipeline: the figures from which SCALING.md follows.

use std::{collections::BTreeMap, time::Duration};

use mutt_queue::{Keys, Redis, RedisSettings};
use mutt_rules::synthetic;
use mutt_servers::{PostgresServer, RedisServer, free_port};

use super::{
    Plan,
    alerter::{drained, postgres, prepare},
    ingest::redis,
    load::{closed_loop, post},
    process::{RoleProcess, cpu_of, cpu_of_family},
    report::{Row, grouped},
    samples::{SEED, sent},
};
use crate::worker::Fatal;

const KEY: &str = "bench-key";
const DATABASE: &str = "bench";
const RULES: usize = 1_000;
/// Events of a request, as collectors send them.
const BATCH: usize = 100;
const CONNECTIONS: usize = 8;
/// Some hundred thousand events; more would only take longer to drain.
const FILL_TIME_MAX: Duration = Duration::from_secs(1);

/// All per event.
struct Figures {
    events: f64,
    /// Bytes of the queued element.
    element: f64,
    ingestor: Duration,
    redis_in: Duration,
    alerter: Duration,
    redis_out: Duration,
    postgres: Duration,
    redis_memory: f64,
    redis_file: f64,
    tables: f64,
    wal: f64,
}

pub(super) async fn measure(plan: Plan) -> Result<Vec<Row>, Fatal> {
    let figures = plan.median(async || one_run(plan).await, |figures| figures.alerter.as_secs_f64()).await?;
    let micros = |cpu: Duration| format!("{:.1} µs", cpu.as_secs_f64() * 1e6);
    let bytes = |bytes: f64| format!("{} B", grouped(bytes));
    let sample =
        format!("{} events, {} B each in the queue, 1,000 rules", grouped(figures.events), grouped(figures.element));
    let row = |what: &str, measured: String| Row {
        what: format!("an event costs: {what}"),
        measured,
        limit: sample.clone(),
        goal: String::new(),
        met: true,
    };
    Ok(vec![
        row("CPU of the ingestor, 100 events a request", micros(figures.ingestor)),
        row("CPU of Redis, taking in", micros(figures.redis_in)),
        row("CPU of the alerter", micros(figures.alerter)),
        row("CPU of Redis, giving out and taking the alerts in", micros(figures.redis_out)),
        row("CPU of PostgreSQL", micros(figures.postgres)),
        row("memory of Redis while it waits", bytes(figures.redis_memory)),
        row("Redis' append-only file, taking in", bytes(figures.redis_file)),
        row("audit table with indexes on disk", bytes(figures.tables)),
        row("PostgreSQL's write-ahead log", bytes(figures.wal)),
    ])
}

async fn one_run(plan: Plan) -> Result<Figures, Fatal> {
    let port = || free_port().map_err(|error| Fatal::failed("no free port", error));
    let (server, database) = (redis().await?, postgres().await?);
    let url =
        database.create_database(DATABASE).await.map_err(|error| Fatal::failed("cannot make a database", error))?;
    let client = Redis::new(RedisSettings::new("127.0.0.1", server.port()));
    let keys = Keys::new("mutt");
    prepare(&url, &client, &keys, RULES).await?;
    let (ingest, health) = (port()?, port()?);
    let settings = BTreeMap::from([
        ("REDIS_URL", server.url()),
        ("DATABASE_URL", url.clone()),
        ("INGEST_API_KEY", KEY.to_owned()),
        ("SERVER_PORT_INGESTOR", ingest.to_string()),
        ("MAX_INGEST_QUEUE_SIZE", "1000000000".to_owned()),
        ("INGEST_MAX_REDIS_BYTES", (16_u64 << 30).to_string()),
        ("HEALTH_PORT_ALERTER", health.to_string()),
        ("METRICS_PORT_ALERTER", port()?.to_string()),
        // Nobody takes the alerts away.
        ("ALERTER_QUEUE_SHED_THRESHOLD", "1000000000".to_owned()),
        ("RULES_SOURCE", "redis".to_owned()),
    ]);
    let mut alerter = RoleProcess::start("alerter", &settings)?;
    alerter.ready(health).await?;
    alerter.freeze();
    let mut ingestor = RoleProcess::start("ingestor", &settings)?;
    ingestor.ready(ingest).await?;

    let before = (ingestor.cpu(), cpu(&server), Stored::read(&server).await?);
    let load =
        closed_loop(ingest, CONNECTIONS, post("/ingest", KEY, &batch()), plan.seconds.min(FILL_TIME_MAX)).await?;
    if load.failed > 0 {
        return Err(Fatal::Refused(format!("{} requests of the load failed", load.failed)));
    }
    let events = (load.answered * BATCH as u64) as f64;
    let after = (ingestor.cpu(), cpu(&server), Stored::read(&server).await?);
    let element = element_length(&client, &keys.ingest_queue).await?;

    let wal_before = wal_bytes(&database).await?;
    let out = (alerter.cpu(), cpu(&server), family(&database));
    alerter.thaw();
    drained(&client, &keys.ingest_queue, &keys.leases_alerter).await?;
    let share = |cpu: Duration| cpu.div_f64(events);
    Ok(Figures {
        events,
        element,
        ingestor: share(after.0.saturating_sub(before.0)),
        redis_in: share(after.1.saturating_sub(before.1)),
        alerter: share(alerter.cpu().saturating_sub(out.0)),
        redis_out: share(cpu(&server).saturating_sub(out.1)),
        postgres: share(family(&database).saturating_sub(out.2)),
        redis_memory: (after.2.memory - before.2.memory) / events,
        redis_file: (after.2.file - before.2.file) / events,
        tables: audit_bytes(&database, events).await? / events,
        wal: (wal_bytes(&database).await? - wal_before) / events,
    })
}

/// A JSON array of different events, of which rules take about 60 %.
fn batch() -> String {
    let events: Vec<_> = synthetic::events(BATCH, RULES, SEED).iter().map(sent).collect();
    format!("[{}]", events.join(","))
}

fn cpu(server: &RedisServer) -> Duration {
    server.pid().map(cpu_of).unwrap_or_default()
}

/// PostgreSQL works in children, of which some may have ended.
fn family(server: &PostgresServer) -> Duration {
    server.pid().map(cpu_of_family).unwrap_or_default()
}

/// What Redis holds, in bytes.
struct Stored {
    memory: f64,
    file: f64,
}

impl Stored {
    async fn read(server: &RedisServer) -> Result<Self, Fatal> {
        let info = server.command(&["INFO", "everything"]).await.map_err(|error| Fatal::failed("INFO", error))?;
        let field = |name: &str| {
            let value = info.text().lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            value.ok_or_else(|| Fatal::Refused(format!("Redis does not say {name}")))
        };
        Ok(Self { memory: field("used_memory:")?, file: field("aof_current_size:")? })
    }
}

async fn element_length(client: &Redis, queue: &str) -> Result<f64, Fatal> {
    let oldest: Option<Vec<u8>> = client
        .query(mutt_queue::redis::cmd("LINDEX").arg(queue).arg(-1))
        .await
        .map_err(|error| Fatal::failed("cannot look at the queue", error))?;
    Ok(oldest.map_or(0, |element| element.len()) as f64)
}

async fn wal_bytes(server: &PostgresServer) -> Result<f64, Fatal> {
    number(server, "postgres", "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").await
}

/// Size of the audit trail's partitions with their indexes.
async fn audit_bytes(server: &PostgresServer, events: f64) -> Result<f64, Fatal> {
    let rows = number(server, DATABASE, "SELECT count(*) FROM event_audit_log").await?;
    if rows < events {
        return Err(Fatal::Refused(format!("only {rows} of {events} events were audited")));
    }
    let sizes = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('event_audit_log')";
    number(server, DATABASE, sizes).await
}

async fn number(server: &PostgresServer, database: &str, sql: &str) -> Result<f64, Fatal> {
    let text = server.sql(database, sql).await.map_err(|error| Fatal::failed("cannot ask PostgreSQL", error))?;
    text.trim().parse().map_err(|_| Fatal::Refused(format!("PostgreSQL said {text:?} to {sql}")))
}
