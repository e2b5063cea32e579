//! Heartbeats, settings, depths and ages, doorbell, preflight.

use std::time::Duration;

use mutt_queue::moog::{BreakerPolicy, MoogQueue, Rate, TakeTerms};
use mutt_queue::{BatchId, Doorbell, Outbox, Refusal, Role, WorkerId, heartbeat, settings};
use mutt_servers::RedisOptions;

use crate::support::{Pipeline, finish, json, patient, plain, redis_cmd, take};

#[tokio::test]
async fn live_workers_are_those_with_a_heartbeat() {
    let p = Pipeline::fresh().await;
    let (a, b) = (WorkerId::new("pod-a"), WorkerId::new("pod-b"));
    for worker in [&a, &b] {
        heartbeat::beat(&p.redis, &p.keys, Role::Alerter, worker, "up").await.unwrap();
    }
    let mut alive = heartbeat::alive(&p.redis, &p.keys, Role::Alerter).await.unwrap();
    alive.sort();
    assert_eq!(alive, [a.clone(), b.clone()]);
    assert!(heartbeat::alive(&p.redis, &p.keys, Role::Moog).await.unwrap().is_empty());
    let ttl_s: i64 = p.redis.query(redis_cmd(&["TTL", &p.keys.heartbeat(Role::Alerter, &a)])).await.unwrap();
    assert!((1..=30).contains(&ttl_s));

    heartbeat::stop(&p.redis, &p.keys, Role::Alerter, &a).await.unwrap();
    assert_eq!(heartbeat::alive(&p.redis, &p.keys, Role::Alerter).await.unwrap(), [b.clone()]);
    // One that died is not counted once its time is over, and is forgotten by the next heartbeat.
    let _: i64 = p.redis.query(redis_cmd(&["ZADD", &p.keys.workers_alerter, "1", b.as_str()])).await.unwrap();
    assert!(heartbeat::alive(&p.redis, &p.keys, Role::Alerter).await.unwrap().is_empty());
    heartbeat::beat(&p.redis, &p.keys, Role::Alerter, &a, "up").await.unwrap();
    let known: i64 = p.redis.query(redis_cmd(&["ZCARD", &p.keys.workers_alerter])).await.unwrap();
    assert_eq!(known, 1);
}

#[tokio::test]
async fn settings_are_written_read_and_removed() {
    let p = Pipeline::fresh().await;
    assert!(settings::read(&p.redis, &p.keys).await.unwrap().is_empty());
    assert_eq!(settings::write(&p.redis, &p.keys, "moog_rate_limit", "50").await.unwrap(), None);
    assert_eq!(settings::write(&p.redis, &p.keys, "moog_rate_limit", "60").await.unwrap().as_deref(), Some("50"));
    assert_eq!(settings::read(&p.redis, &p.keys).await.unwrap()["moog_rate_limit"], "60");
    assert_eq!(settings::remove(&p.redis, &p.keys, "moog_rate_limit").await.unwrap().as_deref(), Some("60"));
    assert!(settings::read(&p.redis, &p.keys).await.unwrap().is_empty());
}

/// Queue, state, depth, and the year in which the oldest element was accepted.
async fn years(p: &Pipeline) -> [(&'static str, &'static str, i64, Option<u32>); 4] {
    let queues = p.totals().await.queues();
    let now_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    queues.map(|queue| {
        let year = queue.oldest_age.map(|age| 1970 + ((now_s - age.as_secs_f64()) / 31_556_952.0) as u32);
        (queue.queue, queue.state, queue.depth, year)
    })
}

#[tokio::test]
async fn depths_and_ages_of_both_queues_waiting_and_in_processing() {
    let p = Pipeline::fresh().await;
    assert!(p.totals().await.queues().iter().all(|queue| queue.depth == 0 && queue.oldest_age.is_none()));

    // What a sender nests is not the pipeline's time; a long tail of names behind an alert's event is searched, too.
    let event = |at: &str| format!(r#"{{"x":{{"_received_at":"1990-01-01T00:00:00Z"}},"_received_at":"{at}"}}"#);
    let times = ["2001-07-01T00:00:00.000001Z", "2002-07-01T00:00:00Z", "2003-07-01T00:00:00Z"];
    let elements = times.map(event);
    p.pusher("ingestor").push(&[plain(&elements)]).await.unwrap();
    let alerter = p.alerter("a");
    let first = take(&alerter, 1).await;
    take(&alerter, 1).await;
    let rule = "r".repeat(1_000);
    let alert = json(&format!(r#"{{"raw_json":{},"rule":"{rule}","_event_id":"e"}}"#, event(times[0])));
    let outbox = Outbox { events: 1, alerts: vec![alert.clone(), json("{}")], ..Outbox::default() };
    finish(&alerter, &first.lease, &outbox).await;

    assert_eq!(
        years(&p).await,
        [
            ("ingest", "waiting", 1, Some(2003)),
            ("ingest", "processing", 1, Some(2002)),
            ("alert", "waiting", 2, Some(2001)),
            ("alert", "processing", 0, None),
        ]
    );
    let moog = MoogQueue::new(p.redis.clone(), p.keys.clone(), WorkerId::named("f"));
    let terms = TakeTerms {
        rate: Rate { limit: 0, period: Duration::from_secs(1) },
        breaker: BreakerPolicy { threshold: 0, timeout: Duration::from_secs(1) },
        lease: Duration::from_hours(1),
        webhook_timeout: Duration::from_secs(1),
        fingerprint: "f".into(),
    };
    moog.take(&[BatchId::new()], &terms, "now", false).await.unwrap();
    let [.., waiting, processing] = years(&p).await;
    assert_eq!((waiting.2, waiting.3), (1, None), "the other alert does not say when it came");
    assert_eq!((processing.2, processing.3), (1, Some(2001)));
}

#[tokio::test]
async fn what_does_not_say_how_old_it_is_has_no_age() {
    let p = Pipeline::fresh().await;
    let time = r#""_received_at":"2001-07-01T00:00:00Z""#;
    let silent = format!(r#"{{"hostname":"h","message":"{}"}}"#, "x".repeat(8_192));
    let replayed = format!(r#"{{{time},"_replays":1}}"#);
    for element in [silent.into_bytes(), replayed.into_bytes(), b"{\"_received_at\":\"\xff\"}".to_vec()] {
        p.pusher("ingestor").push(&[plain(std::slice::from_ref(&element))]).await.unwrap();
        let [waiting, ..] = p.totals().await.queues();
        assert_eq!((waiting.depth, waiting.oldest_age), (1, None));
        take(&p.alerter("a"), 1).await;
    }
}

#[tokio::test]
async fn the_doorbell_rings_and_moves_nothing() {
    let p = Pipeline::fresh().await;
    let mut bell = Doorbell::new(&p.redis, &p.keys.ingest_queue);
    assert!(!bell.wait(Duration::from_millis(10)).await.unwrap());
    p.accept(0, 3).await;
    assert!(bell.wait(Duration::from_secs(30)).await.unwrap());
    assert_eq!(p.list(&p.keys.ingest_queue).await, ["0", "1", "2"]);

    let other = Pipeline::fresh().await;
    let mut bell = Doorbell::new(&other.redis, &other.keys.ingest_queue);
    let (rung, ()) = tokio::join!(bell.wait(Duration::from_secs(30)), other.accept(0, 1));
    assert!(rung.unwrap());
}

#[tokio::test]
async fn a_cancelled_wait_leaves_a_working_doorbell() {
    let p = Pipeline::fresh().await;
    let mut bell = Doorbell::new(&p.redis, &p.keys.ingest_queue);
    let cancelled = tokio::time::timeout(Duration::from_millis(50), bell.wait(Duration::from_hours(1))).await;
    assert!(cancelled.is_err());
    p.accept(0, 1).await;
    assert!(bell.wait(Duration::from_secs(30)).await.unwrap());
}

#[tokio::test]
async fn preflight_refuses_a_redis_that_evicts() {
    let server = RedisOptions::new().without_persistence().maxmemory(100_000_000).start().await.unwrap();
    let p = Pipeline::on(patient(&server.url()));
    let seen = p.redis.preflight().await.unwrap();
    assert_eq!(seen.check(), Ok(()));
    assert_eq!((seen.maxmemory_bytes, seen.default_bytes_max()), (100_000_000, Some(80_000_000)));
    assert!(!seen.appendonly && !seen.waitaof && seen.is_master && seen.total_system_memory_bytes > 0);
    assert!(p.redis.used_memory_bytes().await.unwrap() > 0);
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    assert_eq!(p.redis.preflight().await.unwrap().check(), Err(Refusal::Evicts("allkeys-lru".into())));
}
