//! Redis or PostgreSQL away, frozen or full; workers asked to end under load.

use std::{collections::BTreeSet, time::Duration};

use mutt_e2e::{Pipeline, Role, Sender, eventually};
use mutt_servers::RedisOptions;

use crate::ledger;

/// Sends single events until `count` of them were accepted; returns the accepted ones.
async fn send(sender: &Sender, numbers: std::ops::Range<usize>) -> BTreeSet<usize> {
    for number in numbers.clone() {
        sender.send_until_accepted(&ledger::numbered(number), &format!("event-{number}")).await;
    }
    numbers.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_restarts_and_freezes_under_load() {
    let mut pipeline = Pipeline::start().await;
    pipeline.set("ALERTER_JANITOR_TIMEOUT", "5");
    pipeline.set("MOOG_JANITOR_TIMEOUT", "5");
    let _alerter = pipeline.run(Role::Alerter).await;
    let _forwarder = pipeline.run(Role::Forwarder).await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    let sender = pipeline.sender(&ingestor);
    let load = tokio::spawn(async move { send(&sender, 0..300).await });
    for _ in 0..3 {
        let before = pipeline.audited().await;
        eventually("progress before the restart", async || load.is_finished() || pipeline.audited().await > before)
            .await;
        pipeline.redis.restart().await.unwrap();
        pipeline.redis.pause().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        pipeline.redis.resume().unwrap();
    }
    let accepted = load.await.unwrap();
    ledger::prove(&pipeline, &accepted).await;
}

#[tokio::test]
async fn without_redis_senders_are_told_and_roles_wait() {
    let pipeline = Pipeline::start().await;
    let mut ingestor = pipeline.run(Role::Ingestor).await;
    let sender = pipeline.sender(&ingestor);
    pipeline.redis.stop().await.unwrap();
    let answer = sender.send(&ledger::numbered(1)).await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.json);
    assert!(answer.retry_after.is_some());
    eventually("/ready says no", async || ingestor.status("/ready").await == 503).await;
    assert_eq!(ingestor.status("/live").await, 200, "an outage of Redis restarts nothing");
    // Roles that start now wait for it.
    let mut alerter = pipeline.spawn(Role::Alerter);
    eventually("the alerter answers", async || alerter.status("/ready").await == 503).await;
    pipeline.redis.restart().await.unwrap();
    ingestor.wait_ready().await;
    alerter.wait_ready().await;
    let accepted = send(&sender, 2..5).await;
    let _forwarder = pipeline.run(Role::Forwarder).await;
    // Number 1 was refused; it may not appear.
    ledger::prove(&pipeline, &accepted).await;
}

#[tokio::test]
async fn postgres_away_at_start_and_in_the_middle() {
    let pipeline = Pipeline::start_with_own_postgres().await;
    pipeline.postgres().stop().await.unwrap();
    let ingestor = pipeline.run(Role::Ingestor).await;
    let mut alerter = pipeline.spawn(Role::Alerter);
    let sender = pipeline.sender(&ingestor);
    let mut accepted = send(&sender, 0..10).await;
    eventually("the alerter says it is not ready", async || alerter.status("/ready").await == 503).await;
    pipeline.postgres().restart().await.unwrap();
    alerter.wait_ready().await;
    eventually("the first events audited", async || pipeline.audited().await == 10).await;

    pipeline.postgres().kill().await.unwrap();
    accepted.extend(send(&sender, 10..30).await);
    eventually("the alerter notices", async || alerter.status("/ready").await == 503).await;
    assert!(alerter.is_running());
    pipeline.postgres().restart().await.unwrap();
    let _forwarder = pipeline.run(Role::Forwarder).await;
    ledger::prove(&pipeline, &accepted).await;
}

#[tokio::test]
async fn a_full_redis_refuses_new_events_and_drains() {
    // Redis itself needs a megabyte or so; what is left fills quickly.
    let mut pipeline = Pipeline::start_with(RedisOptions::new().maxmemory(4 << 20)).await;
    pipeline.set("INGEST_MAX_REDIS_BYTES", (1_u64 << 40).to_string());
    let ingestor = pipeline.run(Role::Ingestor).await;
    let sender = pipeline.sender(&ingestor);
    let mut accepted = BTreeSet::new();
    let mut refused = false;
    for first in (1..200_000_usize).step_by(200) {
        // Odd numbers only: alerts would need memory of their own.
        let numbers: Vec<usize> = (first..first + 200).filter(|number| !number.is_multiple_of(2)).collect();
        let answer = sender.send(&ledger::batch(numbers.iter().copied())).await.unwrap();
        if answer.status == 503 {
            refused = true;
            break;
        }
        assert_eq!(answer.status, 200, "{}", answer.json);
        accepted.extend(numbers);
    }
    assert!(refused, "Redis never became full");
    let _alerter = pipeline.run(Role::Alerter).await;
    eventually("the queue drains", async || pipeline.length("mutt:ingest_queue").await == 0).await;
    sender.send_until_accepted(&ledger::numbered(1_000_001), "after").await;
    accepted.insert(1_000_001);
    ledger::prove(&pipeline, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_under_load() {
    let mut pipeline = Pipeline::start().await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    let alerter = pipeline.run(Role::Alerter).await;
    let forwarder = pipeline.run(Role::Forwarder).await;
    let sender = pipeline.sender(&ingestor);
    pipeline.set("SERVER_PORT_INGESTOR", ingestor.port().to_string());
    let load = tokio::spawn(async move { send(&sender, 0..200).await });
    eventually("load", async || pipeline.audited().await > 10).await;
    for process in [ingestor, alerter, forwarder] {
        let role = process.role();
        let status = process.terminate().await;
        assert!(status.success(), "{role:?} ended with {status}");
    }
    let leases = pipeline.redis.command(&["ZCARD", "mutt:leases:alerter"]).await.unwrap().integer();
    assert_eq!(leases, 0, "the drained alerter left a batch in work");
    let _next =
        (pipeline.run(Role::Ingestor).await, pipeline.run(Role::Alerter).await, pipeline.run(Role::Forwarder).await);
    let accepted = load.await.unwrap();
    ledger::prove(&pipeline, &accepted).await;
}
