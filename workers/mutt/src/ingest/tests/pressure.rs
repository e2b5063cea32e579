//! Backpressure: entries, bytes, sources.

use super::*;

#[tokio::test]
async fn a_full_queue_closes_and_reopens_at_nine_tenths() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[("MAX_INGEST_QUEUE_SIZE", "10")]).await;
    for _ in 0..10 {
        assert_eq!(ingestor.post(GOOD).await.status, 200);
    }
    let answer = ingestor.post("not even JSON").await;
    assert_eq!(answer.refusal(), (503, "queue_full".into(), "Service Unavailable - queue full".into()));
    let body = answer.json();
    assert_eq!((body["queue_depth"].as_u64(), body["queue_limit"].as_u64()), (Some(10), Some(10)));
    assert!(answer.header("retry-after").is_some());
    redis.command(&["LTRIM", "mutt:ingest_queue", "0", "8"]).await.unwrap();
    eventually("reopened", async || ingestor.post(GOOD).await.status == 200).await;

    // The limit may be changed at run time.
    redis.command(&["HSET", "mutt:settings", "max_ingest_queue_size", "5"]).await.unwrap();
    eventually("closed by the new limit", async || {
        let answer = ingestor.post(GOOD).await;
        answer.status == 503 && answer.json()["queue_limit"] == 5
    })
    .await;
}

#[tokio::test]
async fn memory_of_redis_is_a_limit_too() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start_unready(redis.port(), &[("INGEST_MAX_REDIS_BYTES", "1000")]).await;
    ingestor.until_ready().await;
    eventually("closed", async || ingestor.post(GOOD).await.status == 503).await;
    let answer = ingestor.post(GOOD).await;
    assert_eq!(answer.refusal().1, "queue_full");
    assert_eq!(answer.json()["redis_bytes_limit"], 1_000);
}

#[tokio::test]
async fn sources_are_limited_when_asked_for() {
    let redis = RedisServer::start().await.unwrap();
    let settings = [("RATE_LIMIT_ENABLED", "true"), ("INGEST_MAX_RATE", "3"), ("INGEST_RATE_WINDOW", "86400")];
    let ingestor = Ingestor::start(redis.port(), &settings).await;
    assert_eq!(ingestor.post(format!("[{GOOD},{GOOD},{GOOD}]")).await.status, 200);
    let answer = ingestor.post(GOOD).await;
    assert_eq!((answer.status, answer.refusal().1.as_str()), (429, "rate_limit"));
    let wait = answer.json()["retry_after"].as_u64().unwrap();
    assert_eq!(answer.header("retry-after"), Some(wait.to_string().as_str()));
    assert!((ingestor.metric("mutt_ingest_rate_limit_hits_total").await - 1.0).abs() < 0.1);
}
