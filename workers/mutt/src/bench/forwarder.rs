//! The forwarder without a rate limit, against a webhook that answers at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use mutt_queue::{Keys, Redis, RedisSettings};
use mutt_servers::{Webhook, free_port};

use super::{
    Plan,
    alerter::{drained, fill},
    ingest::redis,
    process::{Memory, RoleProcess},
    report::{Row, grouped, memory_row},
    samples::alert,
};
use crate::worker::Fatal;

const ALERTS: usize = 50_000;

struct Figures {
    rate: f64,
    cpu: Duration,
    memory: Memory,
}

pub(super) async fn measure(plan: Plan) -> Result<Vec<Row>, Fatal> {
    let figures = plan.median(one_run, |figures| figures.rate).await?;
    let per_cpu = ALERTS as f64 / figures.cpu.as_secs_f64();
    Ok(vec![
        Row {
            what: "forwarder, no rate limit, alerts/s per core".into(),
            measured: grouped(figures.rate.max(per_cpu)),
            limit: format!("{} alerts/s; webhook and Redis on the other core", grouped(figures.rate)),
            goal: "≥ 12,000".into(),
            met: figures.rate.max(per_cpu) >= 12_000.0,
        },
        memory_row("forwarder", figures.memory, 64.0),
    ])
}

async fn one_run() -> Result<Figures, Fatal> {
    let port = || free_port().map_err(|error| Fatal::failed("no free port", error));
    let server = redis().await?;
    let webhook = Webhook::start().await.map_err(|error| Fatal::failed("cannot start the webhook", error))?;
    webhook.record(false);
    let health = port()?;
    let settings = BTreeMap::from([
        ("REDIS_URL", server.url()),
        ("MOOG_WEBHOOK_URL", webhook.url()),
        ("MOOG_API_KEY", "bench-key".to_owned()),
        ("MOOG_RATE_LIMIT", "0".to_owned()),
        ("HEALTH_PORT_MOOG", health.to_string()),
        ("METRICS_PORT_MOOG", port()?.to_string()),
    ]);
    let client = Redis::new(RedisSettings::new("127.0.0.1", server.port()));
    let keys = Keys::new("mutt");
    let mut role = RoleProcess::start("forwarder", &settings)?;
    role.ready(health).await?;
    role.freeze();
    fill(&client, &keys.alert_queue, (0..ALERTS).map(alert)).await?;
    let before = role.cpu();
    let memory = role.watch_memory();
    let start = Instant::now();
    role.thaw();
    drained(&client, &keys.alert_queue, &keys.leases_moog).await?;
    let elapsed = start.elapsed();
    let delivered = webhook.delivered();
    if delivered < ALERTS as u64 {
        return Err(Fatal::Refused(format!("only {delivered} of {ALERTS} alerts came")));
    }
    let cpu = role.cpu().saturating_sub(before);
    let memory = memory.end()?;
    Ok(Figures { rate: ALERTS as f64 / elapsed.as_secs_f64(), cpu, memory })
}
