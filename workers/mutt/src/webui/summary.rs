//! `GET metrics`: how many events came in, from the counters that the ingestors keep in Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use mutt_queue::{Keys, Redis, RedisError, redis, summary_keys};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::ApiError;
use super::openapi::{Unauthorized, Unavailable};

/// Minutes of the hour.
const MINUTES: i64 = 60;
/// Hours of the chart.
const HOURS: i64 = 24;

/// Rates and the chart of a day.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Summary {
    summary: Rates,
    chart_24h: Chart,
}

/// Accepted events per minute.
#[derive(Debug, Clone, Serialize, ToSchema, PartialEq)]
pub(crate) struct Rates {
    /// Events of the last 60 seconds.
    current_rate_1m: f64,
    /// Events per minute, mean of the last 15 minutes.
    avg_rate_15m: f64,
    /// Events per minute, mean of the last hour.
    avg_rate_1h: f64,
}

/// Accepted events per hour, the current hour last.
#[derive(Debug, Clone, Serialize, ToSchema, PartialEq)]
pub(crate) struct Chart {
    /// 24 hours of the day in UTC, `HH:00`.
    #[schema(min_items = 24, max_items = 24)]
    labels: Vec<String>,
    /// 24 counts.
    #[schema(min_items = 24, max_items = 24)]
    data: Vec<u64>,
}

/// The last summary and when it was made. Requests that come together share one reading of Redis.
#[derive(Default)]
pub(crate) struct Cache(tokio::sync::Mutex<Option<(Instant, Summary)>>);

/// How many events came in, over the last minute, quarter of an hour, hour and day.
#[utoipa::path(get, path = "/metrics", tag = "metrics", responses(
    (status = 200, body = Summary), (status = 401, response = Unauthorized),
    (status = 503, response = Unavailable)))]
pub(crate) async fn show(State(api): State<Arc<Api>>) -> Result<Json<Summary>, ApiError> {
    let mut cached = api.summary.0.lock().await;
    if let Some((made, summary)) = cached.as_ref()
        && made.elapsed() < api.summary_ttl
    {
        return Ok(Json(summary.clone()));
    }
    let now_s = jiff::Timestamp::now().as_second();
    let summary = read(&api.redis, &api.keys, now_s).await?;
    if api.summary_ttl > Duration::ZERO {
        *cached = Some((Instant::now(), summary.clone()));
    }
    Ok(Json(summary))
}

async fn read(redis: &Redis, keys: &Keys, now_s: i64) -> Result<Summary, RedisError> {
    let minute = |ago: i64| summary_keys(&keys.metrics, now_s - 60 * ago)[0].clone();
    let hour = |ago: i64| summary_keys(&keys.metrics, now_s - 3_600 * ago)[1].clone();
    let names: Vec<String> = (0..=MINUTES).map(minute).chain((0..HOURS).map(hour)).collect();
    let counts: Vec<Option<String>> = redis.query(redis::cmd("MGET").arg(&names)).await?;
    let counts: Vec<u64> =
        counts.iter().map(|count| count.as_deref().and_then(|n| n.parse().ok()).unwrap_or(0)).collect();
    let (minutes, hours) = counts.split_at(counts.len().min(MINUTES as usize + 1));
    Ok(Summary { summary: rates(minutes, now_s), chart_24h: chart(hours, now_s) })
}

/// Rates from the counters of the running minute (first) and the ones before. The minute that a window cuts
/// through counts by the part inside.
fn rates(minutes: &[u64], now_s: i64) -> Rates {
    let inside = (60 - now_s.rem_euclid(60)) as f64 / 60.0;
    let over = |window: usize| {
        let whole: u64 = minutes.iter().take(window).sum();
        let cut = minutes.get(window).copied().unwrap_or(0) as f64 * inside;
        let mean = (whole as f64 + cut) / window as f64;
        (mean * 100.0).round() / 100.0
    };
    Rates { current_rate_1m: over(1), avg_rate_15m: over(15), avg_rate_1h: over(60) }
}

/// The chart from the counters of the running hour (first) and the ones before.
fn chart(hours: &[u64], now_s: i64) -> Chart {
    let label = |ago: i64| {
        let hour = (now_s - 3_600 * ago).div_euclid(3_600).rem_euclid(24);
        format!("{hour:02}:00")
    };
    Chart {
        labels: (0..HOURS).rev().map(label).collect(),
        data: (0..HOURS as usize).rev().map(|ago| hours.get(ago).copied().unwrap_or(0)).collect(),
    }
}

impl From<RedisError> for ApiError {
    fn from(error: RedisError) -> Self {
        tracing::warn!(%error, "Redis does not answer");
        Self::Unavailable("Redis is not reachable".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_slide_over_the_minutes() {
        // 45 s into a minute: a quarter of the minute at the window's far end is inside.
        let mut minutes = vec![30, 40];
        minutes.resize(61, 0);
        let rates = rates(&minutes, 1_000_000_005);
        assert_eq!(1_000_000_005 % 60, 45);
        assert_eq!(rates, Rates { current_rate_1m: 40.0, avg_rate_15m: 4.67, avg_rate_1h: 1.17 });
    }

    #[test]
    fn the_chart_ends_with_the_running_hour() {
        let mut hours = vec![7, 6];
        hours.resize(24, 0);
        // 2023-11-14T22:13:20Z
        let chart = chart(&hours, 1_700_000_000);
        assert_eq!((chart.labels.len(), chart.data.len()), (24, 24));
        assert_eq!(chart.labels[23], "22:00");
        assert_eq!(chart.labels[0], "23:00");
        assert_eq!(chart.data[22..], [6, 7]);
    }
}
