//! The real role over HTTP against a real redis-server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod batches;
mod client;
mod faults;
mod jsonb;
mod pressure;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mutt_secrets::Secrets;
use mutt_servers::{RedisServer, Reply};
use prometheus::Registry;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::settings::{IngestorSettings, Origin, Vars};
use crate::worker::{Context, Fatal, Reload, ReloadTrigger, Shutdown, ShutdownTrigger};

use client::{Answer, Client};

pub(crate) const KEY: &str = "test-key";
const GOOD: &str = r#"{"hostname":"sw1","message":"link up","timestamp":"2024-06-01T12:00:00Z"}"#;
/// The machine may be busy with other tests: conditions get this long, and nothing measures time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running ingestor in this process.
pub(crate) struct Ingestor {
    pub(crate) address: SocketAddr,
    shutdown: ShutdownTrigger,
    _reload: ReloadTrigger,
    task: JoinHandle<Result<(), Fatal>>,
}

impl Ingestor {
    /// Starts one on the Redis at this port and waits until it is ready.
    pub(crate) async fn start(redis_port: u16, settings: &[(&str, &str)]) -> Self {
        let ingestor = Self::start_unready(redis_port, settings).await;
        ingestor.until_ready().await;
        ingestor
    }

    async fn start_unready(redis_port: u16, settings: &[(&str, &str)]) -> Self {
        let redis = format!("redis://127.0.0.1:{redis_port}");
        let defaults = [("REDIS_URL", redis.as_str()), ("INGEST_API_KEY", KEY), ("POD_NAME", "test")];
        let mut vars = Vars::default();
        for (name, value) in defaults.iter().chain(settings) {
            vars.set(name, *value, Origin::Environment);
        }
        // A setting given as empty is one that is not given.
        for (name, _) in settings.iter().filter(|(_, value)| value.is_empty()) {
            vars.remove(name);
        }
        let secrets = Secrets::from_variables(&vars.to_map()).unwrap();
        let settings = IngestorSettings::from_vars(&vars).unwrap();
        let (trigger, shutdown) = Shutdown::channel();
        let (reload_trigger, reload) = Reload::channel();
        let context = Context { secrets, registry: Registry::new(), shutdown, reload };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(super::run_on(listener, settings, context));
        Self { address, shutdown: trigger, _reload: reload_trigger, task }
    }

    async fn until_ready(&self) {
        eventually("the ingestor is ready", async || self.get("/ready").await.status == 200).await;
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.client().await.request("GET", path, &[], b"").await
    }

    /// Posts with the right key as JSON.
    async fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.post_with(&[], body).await
    }

    /// The same with further headers.
    async fn post_with(&self, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let mut all = vec![("X-API-KEY", KEY)];
        all.extend_from_slice(headers);
        self.client().await.request("POST", "/ingest", &all, body.as_ref()).await
    }

    /// The value of a metric with exactly these labels.
    async fn metric(&self, line: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Asks for the end and waits for it.
    async fn stop(self) -> Result<(), Fatal> {
        self.shutdown.request();
        timeout(PATIENCE, self.task).await.expect("ends in time").expect("does not panic")
    }

    /// How it ended by itself.
    async fn ended(self) -> Result<(), Fatal> {
        timeout(PATIENCE, self.task).await.expect("ends in time").expect("does not panic")
    }
}

/// Waits until a condition holds.
async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn integer(redis: &RedisServer, command: &[&str]) -> i64 {
    match redis.command(command).await.unwrap() {
        Reply::Integer(value) => value,
        Reply::Text(text) => text.parse().unwrap(),
        Reply::Nil => 0,
        other => panic!("{command:?}: {other:?}"),
    }
}

/// The elements of a list, oldest first, as JSON.
async fn list(redis: &RedisServer, key: &str) -> Vec<Value> {
    match redis.command(&["LRANGE", key, "0", "-1"]).await.unwrap() {
        Reply::Array(items) => items
            .into_iter()
            .rev()
            .map(|item| match item {
                Reply::Text(text) => serde_json::from_str(&text).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

async fn queue(redis: &RedisServer) -> Vec<Value> {
    list(redis, "mutt:ingest_queue").await
}

async fn dlq(redis: &RedisServer) -> Vec<Value> {
    list(redis, "mutt:dlq:ingest").await
}
