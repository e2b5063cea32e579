//! One shared server and a fresh prefix for each test; a server of its own where a test breaks it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mutt_queue::{
    Ack, Batch, BatchId, Finished, Json, Keys, Lease, Leases, Outbox, Pusher, Redis, RedisSettings, Request, Role,
    TakeLimits, Totals, UnhandledLimits, WorkerId,
};
use mutt_servers::{RedisOptions, RedisServer};

/// Generous: the machine may be busy with other builds.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const LIMITS: UnhandledLimits = UnhandledLimits { threshold: 100, expiry_s: 3600 };

/// The server that tests share; it ends with this process.
pub(crate) async fn shared() -> &'static RedisServer {
    static SERVER: tokio::sync::OnceCell<RedisServer> = tokio::sync::OnceCell::const_new();
    SERVER.get_or_init(|| async { RedisOptions::new().without_persistence().start().await.unwrap() }).await
}

/// Settings that no load of the machine makes time out.
pub(crate) fn patient(url: &str) -> RedisSettings {
    let mut settings = RedisSettings::from_url(url).unwrap();
    settings.connect_timeout = PATIENCE;
    settings.response_timeout = PATIENCE;
    settings
}

/// A pipeline of its own on some server.
pub(crate) struct Pipeline {
    pub(crate) redis: Redis,
    pub(crate) keys: Arc<Keys>,
}

impl Pipeline {
    /// On the shared server.
    pub(crate) async fn fresh() -> Self {
        Self::on(patient(&shared().await.url()))
    }

    /// Below a prefix that nobody else uses.
    pub(crate) fn on(settings: RedisSettings) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("{{t{}}}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { redis: Redis::new(settings), keys: Arc::new(Keys::new(&prefix)) }
    }

    /// An alerter whose leases never lapse by themselves.
    pub(crate) fn alerter(&self, name: &str) -> Leases {
        let worker = WorkerId::named(name);
        Leases::new(self.redis.clone(), self.keys.clone(), Role::Alerter, worker, Duration::from_hours(10))
    }

    pub(crate) fn pusher(&self, name: &str) -> Pusher {
        let worker = WorkerId::named(name);
        Pusher::new(self.redis.clone(), self.keys.clone(), &worker, Ack::Memory, Duration::from_secs(1))
    }

    /// Accepts the events `from..to`, whose elements are those numbers.
    pub(crate) async fn accept(&self, from: u32, to: u32) {
        let elements: Vec<String> = (from..to).map(|n| n.to_string()).collect();
        if !elements.is_empty() {
            self.pusher("ingestor").push(&[plain(&elements)]).await.unwrap();
        }
    }

    /// All elements of a list, the oldest first.
    pub(crate) async fn list(&self, key: &str) -> Vec<String> {
        let mut elements: Vec<String> = self.redis.query(redis_cmd(&["LRANGE", key, "0", "-1"])).await.unwrap();
        elements.reverse();
        elements
    }

    /// Lets a lease lapse, as time would.
    pub(crate) async fn lapse(&self, lease: &Lease) {
        let key = self.keys.leases(Role::Alerter);
        let member = lease.member();
        let _: i64 = self.redis.query(redis_cmd(&["ZADD", key, "XX", "1", &member])).await.unwrap();
    }

    pub(crate) async fn totals(&self) -> Totals {
        Totals::read(&self.redis, &self.keys).await.unwrap()
    }

    pub(crate) async fn assert_conserved(&self) {
        let totals = self.totals().await;
        assert_eq!((totals.gap_events(), totals.gap_alerts()), (0, 0), "{totals:?}");
    }
}

pub(crate) fn plain<E>(elements: &[E]) -> Request<'_, E> {
    Request { elements, idempotency: None }
}

pub(crate) fn redis_cmd<'a>(words: &[&str]) -> &'a mutt_queue::redis::Cmd {
    let mut command = mutt_queue::redis::cmd(words[0]);
    command.arg(&words[1..]);
    Box::leak(Box::new(command))
}

pub(crate) fn json(text: &str) -> Json {
    Json::copy_from_slice(text.as_bytes())
}

pub(crate) fn texts(batch: &Batch) -> Vec<String> {
    batch.elements.iter().map(|element| String::from_utf8(element.to_vec()).unwrap()).collect()
}

/// Every element becomes an alert of the same text.
pub(crate) fn all_alerts(batch: &Batch) -> Outbox {
    let alerts = texts(batch).iter().map(|text| json(text)).collect();
    Outbox { events: batch.elements.len() as u64, alerts, ..Outbox::default() }
}

/// Takes up to `count` elements; there must be some.
pub(crate) async fn take(leases: &Leases, count: usize) -> Batch {
    let limits = TakeLimits { count_max: count, ..TakeLimits::default() };
    leases.take(BatchId::new(), limits).await.unwrap().batch.expect("something to take")
}

pub(crate) async fn finish(leases: &Leases, lease: &Lease, outbox: &Outbox) -> Finished {
    leases.finish(lease, outbox, LIMITS, &BTreeMap::new()).await.unwrap()
}

/// Repeats `attempt` until it gives a value.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
