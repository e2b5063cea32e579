//! Prometheus metrics of the Web UI (CONTRACT section 7), and its request counters in Redis.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mutt_queue::{Keys, Redis, RedisError, redis, summary_keys};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use crate::worker::{Fatal, Shutdown};

/// How often counted requests are written to Redis: one pipeline a second instead of one per request.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Lives of the counters per minute, hour and day, in seconds.
const TTLS: [u64; 3] = [2 * 3_600, 48 * 3_600, 30 * 86_400];

/// What the Web UI counts and measures.
pub(crate) struct Metrics {
    requests: IntCounterVec,
    latency: HistogramVec,
    queries: HistogramVec,
    /// Requests that are not yet in Redis.
    unwritten: AtomicU64,
}

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn new(registry: &Registry) -> Result<Self, Fatal> {
        Self::register(registry).map_err(|error| Fatal::failed("cannot register metrics", error))
    }

    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = Opts::new("mutt_webui_api_requests_total", "Requests by endpoint and HTTP status");
        let latency = HistogramOpts::new("mutt_webui_api_latency_seconds", "Time to answer a request");
        let query_buckets = prometheus::exponential_buckets(0.25, 2.5, 13)?;
        let queries = HistogramOpts::new("mutt_webui_db_query_latency_ms", "Time of database work, in milliseconds");
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["endpoint", "status"])?,
            latency: HistogramVec::new(latency, &["endpoint"])?,
            queries: HistogramVec::new(queries.buckets(query_buckets), &["operation"])?,
            unwritten: AtomicU64::new(0),
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.latency.clone()))?;
        registry.register(Box::new(metrics.queries.clone()))?;
        Ok(metrics)
    }

    /// Counts an answered request. `endpoint` is one of the routes, never a path as sent.
    pub(crate) fn answered(&self, endpoint: &str, status: u16, started: Instant) {
        self.requests.with_label_values(&[endpoint, &status.to_string()]).inc();
        self.latency.with_label_values(&[endpoint]).observe(started.elapsed().as_secs_f64());
        self.unwritten.fetch_add(1, Ordering::Relaxed);
    }

    /// Measures database work.
    pub(crate) fn queried(&self, operation: &str, started: Instant) {
        self.queries.with_label_values(&[operation]).observe(started.elapsed().as_secs_f64() * 1_000.0);
    }

    /// Writes the counted requests to Redis until the end is asked for.
    pub(crate) async fn flush_always(&self, redis: &Redis, keys: &Keys, shutdown: &Shutdown) {
        loop {
            let ends = tokio::select! {
                () = tokio::time::sleep(FLUSH_INTERVAL) => false,
                () = shutdown.requested() => true,
            };
            let count = self.unwritten.swap(0, Ordering::Relaxed);
            if count > 0
                && let Err(error) = add(redis, keys, count).await
            {
                // Counted twice at worst: these are figures for people, not for a balance.
                self.unwritten.fetch_add(count, Ordering::Relaxed);
                tracing::debug!(%error, "request counters not written");
            }
            if ends {
                return;
            }
        }
    }
}

/// Prefix of the request counters: `<prefix>:metrics:webui`.
pub(crate) fn counters_prefix(keys: &Keys) -> String {
    format!("{}:webui", keys.metrics)
}

async fn add(redis: &Redis, keys: &Keys, count: u64) -> Result<(), RedisError> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
    let mut pipe = redis::pipe();
    pipe.atomic();
    for (key, ttl) in summary_keys(&counters_prefix(keys), seconds).into_iter().zip(TTLS) {
        pipe.cmd("INCRBY").arg(&key).arg(count).ignore();
        pipe.cmd("EXPIRE").arg(&key).arg(ttl).ignore();
    }
    redis.pipeline(&pipe).await
}
