//! What Redis does in bad times: restarts, replicas, no memory, no scripts, lost answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mutt_queue::{
    Ack, Doorbell, Finished, Idempotency, Phase, Pusher, Redis, Request, Role, TakeLimits, Taken, WorkerId, heartbeat,
    totals,
};
use mutt_servers::{Fault, FaultProxy, RedisOptions, RedisServer, free_port};

use crate::support::{PATIENCE, Pipeline, all_alerts, eventually, finish, patient, plain, redis_cmd, take};

#[tokio::test]
async fn a_restart_in_the_middle_loses_nothing() {
    let server = RedisOptions::new().arguments(["--appendfsync", "always"]).start().await.unwrap();
    let p = Pipeline::on(patient(&server.url()));
    let alerter = p.alerter("a");
    p.accept(0, 100).await;
    let (first, second) = (take(&alerter, 30).await, take(&alerter, 30).await);
    finish(&alerter, &first.lease, &all_alerts(&first)).await;

    server.kill();
    let error = eventually("the loss is seen", async || alerter.renew(std::slice::from_ref(&second.lease)).await.err());
    error.await;
    server.restart().await.unwrap();
    let held = eventually("healed", async || alerter.renew(std::slice::from_ref(&second.lease)).await.ok()).await;
    assert_eq!(held, [true]);
    assert_eq!(finish(&alerter, &first.lease, &all_alerts(&first)).await, Finished::AlreadyDone);
    finish(&alerter, &second.lease, &all_alerts(&second)).await;
    let third = take(&alerter, 500).await;
    finish(&alerter, &third.lease, &all_alerts(&third)).await;
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(p.list(&p.keys.alert_queue).await, expected);
    p.assert_conserved().await;
}

#[tokio::test]
async fn a_replica_refuses_and_its_promotion_heals() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let p = Pipeline::on(patient(&server.url()));
    let alerter = p.alerter("a");
    p.accept(0, 10).await;
    let batch = take(&alerter, 5).await;

    // A master that does not exist: the data stays, writes are refused.
    let nowhere = free_port().unwrap().to_string();
    server.command(&["REPLICAOF", "127.0.0.1", &nowhere]).await.unwrap();
    let pusher = p.pusher("i");
    let keyed = Request { elements: &["y"], idempotency: Some(Idempotency { hash: "h", answer: b"" }) };
    for request in [plain(&["x"]), keyed] {
        let error = pusher.push(&[request]).await.unwrap_err();
        assert_eq!(error.source.code(), Some("READONLY"), "{error}");
    }
    let error = alerter.take(mutt_queue::BatchId::new(), TakeLimits::default()).await.unwrap_err();
    assert_eq!(error.code(), Some("READONLY"), "{error}");
    let error = alerter.renew(std::slice::from_ref(&batch.lease)).await.unwrap_err();
    assert_eq!(error.code(), Some("READONLY"), "{error}");

    server.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    finish(&alerter, &batch.lease, &all_alerts(&batch)).await;
    assert_eq!(pusher.push(&[plain(&["x"])]).await.unwrap().depth, 6);
    p.assert_conserved().await;
}

#[tokio::test]
async fn a_full_redis_refuses_pushes_and_still_drains() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let p = Pipeline::on(patient(&server.url()));
    let (a, b) = (p.alerter("a"), p.alerter("b"));
    p.accept(0, 20).await;
    let mut bell = Doorbell::new(&p.redis, &p.keys.ingest_queue);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();

    let pusher = p.pusher("i");
    let keyed = Request { elements: &["y"], idempotency: Some(Idempotency { hash: "h", answer: b"" }) };
    for request in [plain(&["x"]), keyed] {
        let error = pusher.push(&[request]).await.unwrap_err();
        assert_eq!(error.source.code(), Some("OOM"), "{error}");
    }
    assert_eq!(pusher.push_refused(&["z"], 10).await.unwrap_err().code(), Some("OOM"));
    assert!(bell.wait(Duration::from_secs(30)).await.unwrap(), "try a take");

    heartbeat::beat(&p.redis, &p.keys, Role::Alerter, a.worker(), "up").await.unwrap();
    let batch = take(&a, 20).await;
    assert!(a.set_phase(&batch.lease, Phase::Holding).await.unwrap());
    assert_eq!(a.renew(std::slice::from_ref(&batch.lease)).await.unwrap(), [true]);
    assert!(a.hand_back(&batch.lease).await.unwrap());
    let recovered = b.recover(10).await.unwrap().remove(0).batch;
    let done = finish(&b, &recovered.lease, &all_alerts(&recovered)).await;
    assert_eq!(done, Finished::Done { alert_depth: 20, meta_alerts: 0 });
    p.assert_conserved().await;
    heartbeat::stop(&p.redis, &p.keys, Role::Alerter, a.worker()).await.unwrap();
}

#[tokio::test]
async fn a_wrong_type_leaves_a_finish_undone() {
    let p = Pipeline::fresh().await;
    p.accept(0, 5).await;
    let alerter = p.alerter("a");
    let batch = take(&alerter, 5).await;
    let outbox = all_alerts(&batch);
    for key in [&p.keys.dlq_alerter, &p.keys.alert_queue, &p.keys.totals] {
        let kept: Vec<u8> =
            p.redis.query::<Option<Vec<u8>>>(redis_cmd(&["DUMP", key])).await.unwrap().unwrap_or_default();
        let _: () = p.redis.query(redis_cmd(&["SET", key, "text"])).await.unwrap();
        let result = alerter.finish(&batch.lease, &outbox, crate::support::LIMITS, &BTreeMap::default()).await;
        assert_eq!(result.unwrap_err().code(), Some("WRONGTYPE"), "{key}");
        let _: i64 = p.redis.query(redis_cmd(&["DEL", key])).await.unwrap();
        if !kept.is_empty() {
            let mut restore = mutt_queue::redis::cmd("RESTORE");
            restore.arg(key).arg(0).arg(kept);
            let _: () = p.redis.query(&restore).await.unwrap();
        }
        p.assert_conserved().await;
        assert_eq!(p.totals().await.in_flight, 5);
    }
    assert_eq!(finish(&alerter, &batch.lease, &outbox).await, Finished::Done { alert_depth: 5, meta_alerts: 0 });
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let p = Pipeline::on(patient(&server.url()));
    let (pusher, alerter) = (p.pusher("i"), p.alerter("a"));
    let forget = async || drop(server.command(&["SCRIPT", "FLUSH"]).await.unwrap());
    pusher.push(&[plain(&["0"])]).await.unwrap();
    forget().await;
    assert_eq!(pusher.push(&[plain(&["1", "2"])]).await.unwrap().depth, 3);
    assert_eq!(p.totals().await.count(totals::ACCEPTED), 3, "counted after the scripts were loaded again");
    assert!(pusher.landed(2).await.unwrap());
    forget().await;
    let keyed = Request { elements: &["3"], idempotency: Some(Idempotency { hash: "h", answer: b"" }) };
    assert_eq!(pusher.push(&[keyed]).await.unwrap().depth, 4);
    forget().await;
    let batch = take(&alerter, 10).await;
    forget().await;
    finish(&alerter, &batch.lease, &all_alerts(&batch)).await;
    forget().await;
    p.assert_conserved().await;
}

/// A pusher whose answers a proxy can hold back.
async fn behind_a_proxy(server: &RedisServer, response_timeout: Duration) -> (FaultProxy, Pipeline, Pusher) {
    let proxy = FaultProxy::start(server.port()).await.unwrap();
    let seen = Pipeline::on(patient(&server.url()));
    let mut settings = patient(&format!("redis://127.0.0.1:{}", proxy.port()));
    settings.response_timeout = response_timeout;
    let redis = Redis::new(settings);
    let pusher = Pusher::new(redis, Arc::clone(&seen.keys), &WorkerId::named("i"), Ack::Memory, Duration::from_secs(1));
    eventually("the first push", async || pusher.push(&[plain(&["first"])]).await.ok()).await;
    (proxy, seen, pusher)
}

#[tokio::test]
async fn a_push_whose_answer_is_lost_is_found_to_have_landed() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let (proxy, seen, pusher) = behind_a_proxy(&server, PATIENCE).await;
    proxy.set(Fault::CutReplies(0)).await;
    let lost = pusher.push(&[plain(&["second"])]).await.unwrap_err();
    assert!(lost.source.is_unknown(), "{lost}");
    proxy.set(Fault::None).await;
    assert!(eventually("looked up", async || pusher.landed(lost.seq).await.ok()).await);
    assert_eq!(seen.list(&seen.keys.ingest_queue).await, ["first", "second"]);
    seen.assert_conserved().await;
}

#[tokio::test]
async fn a_push_that_is_found_not_to_have_landed_never_lands_later() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    for _ in 0..5 {
        let (_proxy, seen, pusher) = behind_a_proxy(&server, Duration::from_millis(300)).await;
        // Frozen with the push in its socket: whether it is executed is open until the look-up.
        server.pause().unwrap();
        let lost = pusher.push(&[plain(&["second"])]).await.unwrap_err();
        assert!(lost.source.is_unknown(), "{lost}");
        server.resume().unwrap();
        let landed = eventually("looked up", async || pusher.landed(lost.seq).await.ok()).await;
        for _ in 0..10 {
            let queued = seen.list(&seen.keys.ingest_queue).await;
            assert_eq!(queued.iter().any(|element| element == "second"), landed);
        }
        seen.assert_conserved().await;
    }
}

#[tokio::test]
async fn a_take_whose_answer_is_lost_is_asked_for_again() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let (proxy, seen, _pusher) = behind_a_proxy(&server, PATIENCE).await;
    let through = Pipeline {
        redis: Redis::new(patient(&format!("redis://127.0.0.1:{}", proxy.port()))),
        keys: Arc::clone(&seen.keys),
    };
    let alerter = through.alerter("a");
    // The script is known from here on: what gets lost is the answer, not a NOSCRIPT.
    assert_eq!(alerter.retake(mutt_queue::BatchId::new()).await.unwrap().batch, None);
    proxy.set(Fault::CutReplies(0)).await;
    let id = mutt_queue::BatchId::new();
    assert!(alerter.take(id, TakeLimits::default()).await.unwrap_err().is_unknown());
    proxy.set(Fault::None).await;
    let taken: Taken = eventually("asked again", async || alerter.retake(id).await.ok()).await;
    assert_eq!(taken.batch.unwrap().elements.len(), 1);
    seen.assert_conserved().await;
}
