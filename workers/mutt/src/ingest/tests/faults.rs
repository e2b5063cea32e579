//! Redis away, back, full, wrong, and with lost answers.

use mutt_servers::{Fault, FaultProxy, RedisOptions, free_port};

use super::*;

#[tokio::test]
async fn redis_away_at_start_and_in_the_middle() {
    let redis = RedisServer::start().await.unwrap();
    redis.stop().await.unwrap();
    let ingestor = Ingestor::start_unready(redis.port(), &[]).await;
    eventually("it serves", async || ingestor.get("/live").await.status == 200).await;
    assert_eq!(ingestor.get("/ready").await.status, 503);
    let health = ingestor.get("/health").await;
    assert_eq!(health.status, 503);
    let body = health.json();
    assert_eq!((&body["status"], &body["redis"]), (&"unhealthy".into(), &"disconnected".into()));
    assert!(body["error"].is_string());
    let answer = ingestor.post(GOOD).await;
    assert_eq!(answer.refusal(), (503, "redis".into(), "Service Unavailable - Redis error".into()));
    assert!(answer.header("retry-after").is_some());

    redis.restart().await.unwrap();
    ingestor.until_ready().await;
    assert_eq!(ingestor.post(GOOD).await.status, 200);
    redis.restart().await.unwrap();
    eventually("it takes events again", async || ingestor.post(GOOD).await.status == 200).await;
    redis.stop().await.unwrap();
    assert_eq!(ingestor.post(format!("[{GOOD},{GOOD}]")).await.refusal().1, "redis");
    eventually("not ready", async || ingestor.get("/ready").await.status == 503).await;
    assert!(ingestor.metric(r#"mutt_ingest_requests_total{reason="redis",status="fail"}"#).await > 2.5);
    ingestor.stop().await.unwrap();
}

#[tokio::test]
async fn a_full_redis_is_a_known_refusal() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[("INGEST_MAX_REDIS_BYTES", "1000000000")]).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
    for body in [GOOD.to_owned(), format!("[{GOOD},1]")] {
        let answer = ingestor.post(body).await;
        assert_eq!((answer.status, answer.refusal().1.as_str()), (503, "redis"));
    }
    assert_eq!((queue(&redis).await.len(), dlq(&redis).await.len()), (0, 0));
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    assert_eq!(ingestor.post(GOOD).await.status, 200);
}

#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    let redis = RedisServer::start().await.unwrap();
    let proxy = FaultProxy::start(redis.port()).await.unwrap();
    // Long enough to find out what happened on a busy machine.
    let ingestor = Ingestor::start(proxy.port(), &[("INGEST_PUSH_TIMEOUT", "60")]).await;
    assert_eq!(ingestor.post(GOOD).await.status, 200);
    let mut accepted = 1;
    for attempt in 0..5 {
        // The next reply is cut: what it answered happened, or did not; the sender must be told which.
        proxy.set(Fault::CutReplies(0)).await;
        let post = tokio::spawn({
            let mut client = ingestor.client().await;
            async move { client.request("POST", "/ingest", &[("X-API-KEY", KEY)], GOOD.as_bytes()).await }
        });
        // Either the push arrives at Redis, or its connection was cut before by another reply and it never will.
        for _ in 0..50 {
            if post.is_finished() || integer(&redis, &["LLEN", "mutt:ingest_queue"]).await > accepted {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        proxy.set(Fault::None).await;
        let answer = timeout(PATIENCE, post).await.unwrap().unwrap();
        assert!([200, 503].contains(&answer.status), "{attempt}: {answer:?}");
        if answer.status == 200 {
            accepted += 1;
        }
        assert_eq!(integer(&redis, &["LLEN", "mutt:ingest_queue"]).await, accepted, "{attempt}: {}", answer.status);
        eventually("it takes events again", async || ingestor.get("/ready").await.status == 200).await;
    }
}

#[tokio::test]
async fn a_result_that_cannot_be_learned_is_503_in_time() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[("INGEST_PUSH_TIMEOUT", "0.5")]).await;
    redis.pause().unwrap();
    let answer = ingestor.post(GOOD).await;
    assert_eq!(answer.refusal().1, "redis");
    redis.resume().unwrap();
    ingestor.until_ready().await;
    eventually("it takes events again", async || ingestor.post(GOOD).await.status == 200).await;
}

#[tokio::test]
async fn an_evicting_redis_is_refused_and_fsync_needs_waitaof() {
    let redis = RedisServer::start().await.unwrap();
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    let ended = Ingestor::start_unready(redis.port(), &[]).await.ended().await;
    assert!(ended.unwrap_err().to_string().contains("noeviction"));

    let redis = RedisOptions::new().without_persistence().start().await.unwrap();
    let ended = Ingestor::start_unready(redis.port(), &[("INGEST_ACK", "fsync")]).await.ended().await;
    assert!(ended.unwrap_err().to_string().contains("WAITAOF"));
}

#[tokio::test]
async fn replicas_are_waited_for() {
    let redis = RedisServer::start().await.unwrap();
    let settings = [("INGEST_ACK", "replica"), ("REDIS_WAIT_REPLICAS", "1"), ("INGEST_PUSH_TIMEOUT", "3")];
    let ingestor = Ingestor::start(redis.port(), &settings).await;
    assert_eq!(ingestor.post(GOOD).await.refusal().1, "redis", "no replica has it");
    let _replica = RedisOptions::new().replica_of(redis.port()).start().await.unwrap();
    eventually("a replica has it", async || ingestor.post(GOOD).await.status == 200).await;
}

#[tokio::test]
async fn slow_heads_are_cut_off_and_do_not_hold_up_others() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;
    let mut slow = ingestor.client().await;
    slow.send(b"POST /ingest HTTP/1.1\r\nHost: t\r\nX-A").await;
    let mut slow_body = ingestor.client().await;
    slow_body
        .send(
            format!("POST /ingest HTTP/1.1\r\nHost: t\r\nX-API-KEY: {KEY}\r\nContent-Length: 100\r\n\r\n{{").as_bytes(),
        )
        .await;
    for _ in 0..10 {
        assert_eq!(ingestor.post(GOOD).await.status, 200);
    }
    slow.closed().await;
}

#[tokio::test]
async fn without_a_key_it_does_not_start() {
    let port = free_port().unwrap().to_string();
    let mut vars = Vars::default();
    vars.set("SERVER_PORT_INGESTOR", port, Origin::Environment);
    let secrets = Secrets::from_variables(&vars.to_map()).unwrap();
    let (_trigger, shutdown) = Shutdown::channel();
    let (_reload_trigger, reload) = Reload::channel();
    let context = Context { secrets, registry: Registry::new(), shutdown, reload };
    let error = crate::ingest::run(IngestorSettings::from_vars(&vars).unwrap(), context).await.unwrap_err();
    assert_eq!(error.exit_code(), 64);
    assert!(error.to_string().contains("INGEST_API_KEY"));
}
