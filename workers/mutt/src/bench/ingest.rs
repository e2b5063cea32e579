//! The ingestor against what redis-benchmark reaches on the same Redis.

use std::{collections::BTreeMap, process::Command, time::Duration};

use mutt_servers::{RedisOptions, RedisServer, free_port};

use super::{
    Plan,
    load::{closed_loop, post},
    process::{Memory, ROLE_CORE, RoleProcess, SERVER_CORE, pin},
    report::{Row, grouped, memory_row},
    samples::{batch_300, event_300},
};
use crate::worker::Fatal;

const KEY: &str = "bench-key";
/// Events of a batched request.
const BATCH: usize = 100;
/// LPUSHes of one run of redis-benchmark; 1.5 million values.
const BENCHMARK_COMMANDS: usize = 15_000;

struct Figures {
    /// Events per second of wall time.
    rate: f64,
    /// Events per second of the ingestor's CPU time.
    per_cpu: f64,
    p99: Duration,
    memory: Memory,
    /// Values per second of redis-benchmark, measured just before.
    limit: f64,
}

pub(super) async fn measure(plan: Plan) -> Result<Vec<Row>, Fatal> {
    let batched = plan.median(async || one_run(plan, BATCH, 16).await, |figures| figures.rate / figures.limit).await?;
    let single = plan.median(async || one_run(plan, 1, 64).await, |figures| figures.per_cpu).await?;
    let share = batched.rate / batched.limit;
    let memory = batched.memory.max(single.memory);
    Ok(vec![
        Row {
            what: "ingest, 100 events of 300 B a request, events per CPU-second".into(),
            measured: grouped(batched.per_cpu),
            limit: String::new(),
            goal: "≥ 700,000".into(),
            met: batched.per_cpu >= 700_000.0,
        },
        Row {
            what: "ingest, the same, share of redis-benchmark".into(),
            measured: format!("{:.0} % ({} events/s)", share * 100.0, grouped(batched.rate)),
            limit: format!("LPUSH of 100: {} values/s", grouped(batched.limit)),
            goal: "≥ 60 %".into(),
            met: share >= 0.6,
        },
        Row {
            what: "ingest, one event a request, 64 connections, per CPU-second".into(),
            measured: grouped(single.per_cpu),
            limit: format!("{} events/s, load on the same core", grouped(single.rate)),
            goal: "≥ 70,000".into(),
            met: single.per_cpu >= 70_000.0,
        },
        Row {
            what: "ingest, the same, p99".into(),
            measured: format!("{:.1} ms", single.p99.as_secs_f64() * 1e3),
            limit: String::new(),
            goal: "< 5 ms".into(),
            met: single.p99 < Duration::from_millis(5),
        },
        memory_row("ingestor", memory, 64.0),
    ])
}

async fn one_run(plan: Plan, batch: usize, connections: usize) -> Result<Figures, Fatal> {
    let redis = redis().await?;
    let limit = redis_benchmark(&redis)?;
    flush(&redis).await?;
    let port = free_port().map_err(|error| Fatal::failed("no free port", error))?;
    let settings = BTreeMap::from([
        ("REDIS_URL", redis.url()),
        ("SERVER_PORT_INGESTOR", port.to_string()),
        ("MAX_INGEST_QUEUE_SIZE", "1000000000".to_owned()),
        ("INGEST_MAX_REDIS_BYTES", (16_u64 << 30).to_string()),
        ("INGEST_API_KEY", KEY.to_owned()),
    ]);
    let mut role = RoleProcess::start("ingestor", &settings)?;
    role.ready(port).await?;
    let body = if batch == 1 { event_300() } else { batch_300(batch) };
    let request = post("/ingest", KEY, &body);
    closed_loop(port, connections, request.clone(), Duration::from_millis(500)).await?;
    let before = role.cpu();
    let memory = role.watch_memory();
    let load = closed_loop(port, connections, request, plan.seconds).await?;
    let used = role.cpu().saturating_sub(before).as_secs_f64();
    let memory = memory.end()?;
    if load.failed > 0 {
        return Err(Fatal::Refused(format!("{} requests of the load failed", load.failed)));
    }
    let events = (load.answered * batch as u64) as f64;
    Ok(Figures {
        rate: events / load.elapsed.as_secs_f64(),
        per_cpu: events / used,
        p99: load.percentile(0.99),
        memory,
        limit,
    })
}

/// A Redis with AOF everysec that does not rewrite its AOF in the middle of a measurement.
pub(super) async fn redis() -> Result<RedisServer, Fatal> {
    let redis = RedisOptions::new().arguments(["--auto-aof-rewrite-percentage", "0"]).start().await;
    let redis = redis.map_err(|error| Fatal::failed("cannot start Redis", error))?;
    pin(redis.pid(), SERVER_CORE);
    Ok(redis)
}

async fn flush(redis: &RedisServer) -> Result<(), Fatal> {
    redis.command(&["FLUSHALL", "ASYNC"]).await.map_err(|error| Fatal::failed("FLUSHALL", error))?;
    Ok(())
}

/// Values per second that redis-benchmark reaches with LPUSH of 100 values of 300 bytes a command.
fn redis_benchmark(redis: &RedisServer) -> Result<f64, Fatal> {
    let failed = |error: std::io::Error| Fatal::failed("redis-benchmark (package redis-tools)", error);
    let mut command = Command::new("taskset");
    command.args(["-c", &ROLE_CORE.to_string(), "redis-benchmark", "-p", &redis.port().to_string(), "--csv"]);
    command.args(["-n", &BENCHMARK_COMMANDS.to_string(), "-c", "16", "LPUSH", "bench:limit"]);
    let output = command.args(vec![event_300(); BATCH]).output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "test","rps",…: the command's name holds the values and so commas; the first numbers follow its closing quote.
    let line = text.lines().find(|line| line.contains("LPUSH"));
    let rate = line.and_then(|line| line.rsplit("\",\"").nth(6)?.trim_matches('"').parse::<f64>().ok());
    rate.map(|commands| commands * BATCH as f64)
        .ok_or_else(|| Fatal::Refused(format!("redis-benchmark said: {text:.300}")))
}
