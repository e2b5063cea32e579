//! The API against real servers: PostgreSQL (a database for each test), Redis (a prefix for each test).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audit;
mod config;
mod gate;
mod hosts;
mod outage;
mod rules;

use std::time::Duration;

use mutt_queue::{Keys, Redis, RedisSettings};
use mutt_secrets::Secrets;
use mutt_servers::{PostgresServer, RedisServer};
use prometheus::Registry;
use reqwest::{Method, Response};
use serde_json::Value;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use crate::db::migrate;
use crate::settings::{Origin, Vars, WebUiSettings};
use crate::worker::{Context, Fatal, Reload, ReloadTrigger, Shutdown, ShutdownTrigger};

/// The key that tests use.
const KEY: &str = "key-of-the-test";
/// The machine that runs the tests is shared and slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// One running API with its servers.
struct Site {
    base: String,
    client: reqwest::Client,
    pool: PgPool,
    redis: Redis,
    keys: Keys,
    shutdown: ShutdownTrigger,
    _reload: ReloadTrigger,
    task: JoinHandle<Result<(), Fatal>>,
}

/// The one Redis of all tests.
async fn redis_url() -> String {
    static REDIS: OnceCell<RedisServer> = OnceCell::const_new();
    REDIS.get_or_try_init(RedisServer::start).await.expect("redis-server starts").url()
}

/// A database with MUTT's schema, for one test.
async fn database_url() -> String {
    let server = PostgresServer::shared().await.expect("postgres starts");
    let url = server.fresh_database().await.expect("a database");
    let pool = PgPool::connect(&url).await.expect("connects");
    migrate(&pool).await.expect("migrates");
    pool.close().await;
    url
}

impl Site {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings beside those that every test has.
    async fn start_with(extra: &[(&str, &str)]) -> Self {
        let (redis_url, database_url) = (redis_url().await, database_url().await);
        Self::start_on(&redis_url, &database_url, extra).await
    }

    async fn start_on(redis_url: &str, database_url: &str, extra: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
        let mut vars = Vars::default();
        let common = [
            ("REDIS_URL", redis_url),
            ("DATABASE_URL", database_url),
            ("REDIS_KEY_PREFIX", &prefix),
            ("WEBUI_API_KEY", KEY),
            ("METRICS_CACHE_TTL", "0"),
            ("SHUTDOWN_TIMEOUT", "1"),
            ("DB_POOL_MIN_CONN", "0"),
        ];
        for (name, value) in common.iter().chain(extra) {
            vars.set(name, *value, Origin::Environment);
        }
        let settings = WebUiSettings::from_vars(&vars).expect("good settings");
        let (shutdown_trigger, shutdown) = Shutdown::channel();
        let (reload_trigger, reload) = Reload::channel();
        let secrets = Secrets::from_variables(&vars.to_map()).expect("secrets");
        let context = Context { secrets, registry: Registry::new(), shutdown, reload };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("its address"));
        let task = tokio::spawn(super::serve(settings, context, listener));
        Self {
            base,
            client: reqwest::Client::builder().timeout(PATIENCE).build().expect("a client"),
            pool: PgPool::connect_lazy(database_url).expect("a pool"),
            redis: Redis::new(RedisSettings::from_url(redis_url).expect("a URL")),
            keys: Keys::new(&prefix),
            shutdown: shutdown_trigger,
            _reload: reload_trigger,
            task,
        }
    }

    /// A request without key or anything.
    fn bare(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request with the key, to a path below `/api/v2`.
    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.bare(method, &format!("/api/v2{path}")).header("X-API-KEY", KEY)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        read(self.request(Method::GET, path).send().await.expect("an answer")).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.request(Method::POST, path).json(&body).send().await.expect("an answer")).await
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.request(Method::PUT, path).json(&body).send().await.expect("an answer")).await
    }

    async fn delete(&self, path: &str) -> (u16, Value) {
        read(self.request(Method::DELETE, path).send().await.expect("an answer")).await
    }

    /// Runs SQL with one text parameter per value.
    async fn sql(&self, statement: &'static str) {
        sqlx::raw_sql(statement).execute(&self.pool).await.expect("good SQL");
    }

    /// Ends the role and sees that it ends well.
    async fn stop(self) {
        self.shutdown.request();
        drop(self.client);
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("ends in time")
            .expect("does not panic")
            .expect("ends well");
    }
}

/// Status and JSON body. Every answer of the API is JSON, whatever it says.
async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON ({status}): {text}"));
    (status, body)
}

/// Asserts that a refusal has this status, is `{"error"}`, names the field and tells nothing of SQL.
fn assert_refused(answer: &(u16, Value), status: u16, field: &str) {
    let (got, body) = answer;
    let error = body["error"].as_str().unwrap_or_else(|| panic!("no error text: {body}"));
    assert_eq!((*got, error.contains(field)), (status, true), "expected {status} about '{field}': {got} {body}");
    for word in ["SELECT", "INSERT", "alert_rules", "sqlx", "pg_", "SQLSTATE"] {
        assert!(!error.contains(word), "the text shows {word}: {error}");
    }
}
