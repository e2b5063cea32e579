//! Redis, a database, and alerters on threads of this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use mutt_queue::redis::{Cmd, FromRedisValue, cmd};
use mutt_queue::{Keys, Redis, RedisSettings};
use mutt_secrets::Secrets;
use mutt_servers::{RedisServer, free_port};
use prometheus::Registry;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::db::tests::migrated_database;
use crate::settings::{AlerterSettings, Origin, Vars};
use crate::worker::{Context, Fatal, Reload, ReloadTrigger, Shutdown, ShutdownTrigger, single_threaded};

/// The machine may be loaded; a condition that never comes fails all the same.
const LIMIT: Duration = Duration::from_mins(1);

/// Servers and clients of one test.
pub(super) struct Rig {
    pub(super) redis_server: RedisServer,
    pub(super) redis: Redis,
    pub(super) keys: Arc<Keys>,
    pub(super) pool: PgPool,
    pub(super) database_url: String,
}

/// A running alerter; it is asked to end and waited for when it is dropped.
pub(super) struct Running {
    pub(super) health_port: u16,
    pub(super) registry: Registry,
    pub(super) reload: ReloadTrigger,
    shutdown: ShutdownTrigger,
    thread: Option<JoinHandle<Result<(), Fatal>>>,
}

impl Running {
    /// Asks it to end and returns its result.
    pub(super) fn stop(mut self) -> Result<(), Fatal> {
        self.shutdown.request();
        self.thread.take().unwrap().join().unwrap()
    }

    /// The sum of a metric over its labels that contain `label`.
    pub(super) fn metric(&self, name: &str, label: &str) -> i64 {
        let text = crate::telemetry::exposition(&self.registry);
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).map(|value| value as i64).sum()
    }

    /// Whether `/ready` answers 200.
    pub(super) async fn ready(&self) -> bool {
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.health_port)).await?;
            stream.write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        ask.await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.request();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Rig {
    /// Servers with the schema and no rules.
    pub(super) async fn start() -> Self {
        let redis_server = RedisServer::start().await.unwrap();
        let (pool, database_url) = migrated_database().await;
        let redis = Redis::new(RedisSettings::from_url(&redis_server.url()).unwrap());
        Self { redis, keys: Arc::new(Keys::new("mutt")), redis_server, pool, database_url }
    }

    /// The variables of an alerter in this rig: quick polls; leases that no loaded machine lets lapse.
    pub(super) fn vars(&self, pairs: &[(&str, &str)]) -> Vars {
        let mut vars = Vars::default();
        let defaults = [
            ("REDIS_URL", self.redis_server.url()),
            ("DATABASE_URL", self.database_url.clone()),
            ("ALERTER_JANITOR_TIMEOUT", "15".to_owned()),
            ("RULES_POLL_INTERVAL", "0.2".to_owned()),
            ("SHUTDOWN_TIMEOUT", "10".to_owned()),
        ];
        for (name, value) in defaults {
            vars.set(name, value, Origin::Environment);
        }
        for (name, value) in pairs {
            vars.set(name, *value, Origin::Environment);
        }
        vars
    }

    /// Starts an alerter and waits until it is ready.
    pub(super) async fn alerter(&self, pairs: &[(&str, &str)]) -> Running {
        let running = self.launch(pairs).await;
        eventually("the alerter is ready", async || running.ready().await).await;
        running
    }

    /// Starts an alerter.
    pub(super) async fn launch(&self, pairs: &[(&str, &str)]) -> Running {
        // Another process may take a port between the choice and the start.
        for _ in 0..5 {
            let running = self.launch_once(pairs);
            let listens = async || {
                running.thread.as_ref().is_none_or(JoinHandle::is_finished)
                    || tokio::net::TcpStream::connect(("127.0.0.1", running.health_port)).await.is_ok()
            };
            eventually("the alerter listens", listens).await;
            if running.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
                return running;
            }
        }
        panic!("no alerter could be started");
    }

    fn launch_once(&self, pairs: &[(&str, &str)]) -> Running {
        let mut vars = self.vars(pairs);
        let (health_port, metrics_port) = (free_port().unwrap(), free_port().unwrap());
        vars.set("HEALTH_PORT_ALERTER", health_port.to_string(), Origin::Environment);
        vars.set("METRICS_PORT_ALERTER", metrics_port.to_string(), Origin::Environment);
        let settings = AlerterSettings::from_vars(&vars).unwrap();
        let (shutdown, asked) = Shutdown::channel();
        let (reload, reloaded) = Reload::channel();
        let registry = Registry::new();
        let secrets = Secrets::from_variables(&BTreeMap::new()).unwrap();
        let context = Context { secrets, registry: registry.clone(), shutdown: asked, reload: reloaded };
        let thread =
            std::thread::spawn(move || single_threaded().unwrap().block_on(super::super::run(settings, context)));
        Running { health_port, registry, reload, shutdown, thread: Some(thread) }
    }

    /// Queues events as an ingestor does, the oldest first.
    pub(super) async fn push(&self, events: &[Value]) {
        let texts: Vec<String> = events.iter().map(Value::to_string).collect();
        self.push_raw(&texts).await;
    }

    /// Queues elements.
    pub(super) async fn push_raw<E: AsRef<[u8]>>(&self, elements: &[E]) {
        let mut push = cmd("LPUSH");
        push.arg(&self.keys.ingest_queue);
        for element in elements {
            push.arg(element.as_ref());
        }
        let _: i64 = self.query(&push).await;
        let _: i64 = self.query(cmd("HINCRBY").arg(&self.keys.totals).arg("accepted").arg(elements.len())).await;
    }

    /// A command's answer.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> T {
        self.redis.query(command).await.unwrap()
    }

    /// A list's elements as JSON, the oldest first.
    pub(super) async fn list(&self, key: &str) -> Vec<Value> {
        let mut texts: Vec<String> = self.query(cmd("LRANGE").arg(key).arg(0).arg(-1)).await;
        texts.reverse();
        texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// One value of the database as text.
    pub(super) async fn text(&self, query: &str) -> String {
        crate::db::tests::text(&self.pool, query).await
    }

    /// Runs statements.
    pub(super) async fn sql(&self, statements: &str) {
        crate::db::tests::sql(&self.pool, statements).await;
    }

    /// Waits until the value of a query is as given.
    pub(super) async fn until(&self, query: &str, expected: &str) {
        let mut last = String::new();
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            last = self.text(query).await;
            if last == expected {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("`{query}` is `{last}`, not `{expected}`");
    }

    /// Waits until everything accepted is finished: nothing queued, nothing in flight.
    pub(super) async fn until_drained(&self) {
        eventually("queue and leases are empty", async || {
            let queued: u64 = self.query(cmd("LLEN").arg(&self.keys.ingest_queue)).await;
            let leased: u64 = self.query(cmd("ZCARD").arg(&self.keys.leases_alerter)).await;
            queued == 0 && leased == 0
        })
        .await;
    }
}

/// Waits until the condition holds.
pub(super) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if condition().await {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

/// An event as it stands in the queue.
pub(super) fn event(host: &str, message: &str) -> Value {
    json!({
        "hostname": host, "message": message, "timestamp": "2026-11-25T12:00:00Z", "syslog_severity": 3,
        "_event_id": uuid::Uuid::now_v7().to_string(), "_correlation_id": format!("c-{host}"),
        "_received_at": "2026-11-25T12:00:00.000001Z"
    })
}
