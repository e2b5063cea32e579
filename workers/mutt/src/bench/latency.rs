//! From "accepted" to the webhook, one event at a time through all roles.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use mutt_queue::{Keys, Redis, RedisSettings};
use mutt_rules::synthetic;
use mutt_servers::{Webhook, free_port};
use sqlx::PgPool;
use tokio::net::TcpStream;

use super::{
    Plan,
    alerter::postgres,
    ingest::redis,
    load::{exchange, post},
    process::RoleProcess,
    report::Row,
    samples::SEED,
};
use crate::worker::Fatal;

const EVENTS: usize = 300;
const RULES: usize = 1_000;
const KEY: &str = "bench-key";

pub(super) async fn measure(_plan: Plan) -> Result<Vec<Row>, Fatal> {
    let mut latencies = one_run().await?;
    latencies.sort_unstable();
    let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    let row = |what: &str, share: f64, goal: f64| Row {
        what: what.into(),
        measured: format!("{:.1} ms", at(share)),
        limit: format!("{} events, 1,000 rules", latencies.len()),
        goal: format!("< {goal:.0} ms"),
        met: at(share) < goal,
    };
    Ok(vec![row("accepted to webhook, one event at a time, p50", 0.5, 5.0), row("the same, p99", 0.99, 12.0)])
}

async fn one_run() -> Result<Vec<Duration>, Fatal> {
    let port = || free_port().map_err(|error| Fatal::failed("no free port", error));
    let server = redis().await?;
    let postgres = postgres().await?;
    let url =
        postgres.create_database("bench").await.map_err(|error| Fatal::failed("cannot make a database", error))?;
    let webhook = Webhook::start().await.map_err(|error| Fatal::failed("cannot start the webhook", error))?;
    let client = Redis::new(RedisSettings::new("127.0.0.1", server.port()));
    let pool = PgPool::connect(&url).await.map_err(|error| Fatal::failed("cannot connect to PostgreSQL", error))?;
    crate::db::migrate(&pool).await.map_err(|error| Fatal::failed("cannot migrate", error))?;
    let set = synthetic::rules(RULES, SEED);
    let published = crate::rulesource::publish_bundle(&client, &Keys::new("mutt"), 1, &set).await;
    published.map_err(|error| Fatal::failed("cannot publish rules", error))?;
    let (ingest, alerter, forwarder) = (port()?, port()?, port()?);
    let settings = BTreeMap::from([
        ("REDIS_URL", server.url()),
        ("DATABASE_URL", url.clone()),
        ("INGEST_API_KEY", KEY.to_owned()),
        ("MOOG_API_KEY", KEY.to_owned()),
        ("MOOG_WEBHOOK_URL", webhook.url()),
        ("MOOG_RATE_LIMIT", "0".to_owned()),
        ("RULES_SOURCE", "redis".to_owned()),
        ("SERVER_PORT_INGESTOR", ingest.to_string()),
        ("HEALTH_PORT_ALERTER", alerter.to_string()),
        ("METRICS_PORT_ALERTER", port()?.to_string()),
        ("HEALTH_PORT_MOOG", forwarder.to_string()),
        ("METRICS_PORT_MOOG", port()?.to_string()),
    ]);
    let mut roles = Vec::new();
    for (role, ready) in [("ingestor", ingest), ("alerter", alerter), ("forwarder", forwarder)] {
        let mut process = RoleProcess::start(role, &settings)?;
        process.ready(ready).await?;
        roles.push(process);
    }
    one_by_one(ingest, &webhook).await
}

/// Posts events that a rule takes, each when the alert of the one before has come.
async fn one_by_one(port: u16, webhook: &Webhook) -> Result<Vec<Duration>, Fatal> {
    let failed = |error: std::io::Error| Fatal::failed("the ingestor's connection", error);
    let compiled = mutt_rules::Compiled::build(&synthetic::rules(RULES, SEED), None);
    let mut scratch = mutt_rules::Scratch::default();
    let events = synthetic::events(EVENTS * 4, RULES, SEED);
    let taken = events.iter().filter(|event| {
        compiled.decide(&event.as_event(), &mut scratch).handled().is_some_and(|handled| handled.forward)
    });
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map_err(failed)?;
    let mut buffer = Vec::new();
    let mut latencies = Vec::new();
    for event in taken.take(EVENTS) {
        let body = super::samples::sent(event);
        let status = exchange(&mut stream, &post("/ingest", KEY, &body), &mut buffer).await;
        let accepted = Instant::now();
        if status != Some(200) {
            return Err(Fatal::Refused(format!("the ingestor answered {status:?}")));
        }
        let expected = latencies.len() as u64 + 1;
        webhook.wait_for(expected, Duration::from_secs(30)).await.map_err(|error| Fatal::failed("the alert", error))?;
        let came = webhook.with_received(|all| all.last().map(|received| received.at));
        latencies.push(came.map_or(Duration::ZERO, |at| at.saturating_duration_since(accepted)));
    }
    if latencies.len() < EVENTS / 2 {
        return Err(Fatal::Refused(format!("only {} events of the sample are forwarded", latencies.len())));
    }
    Ok(latencies)
}
