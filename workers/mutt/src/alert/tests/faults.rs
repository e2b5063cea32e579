//! Workers that die, servers that go away, batches that kill.

use std::time::Duration;

use mutt_queue::redis::cmd;
use mutt_queue::{Batch, BatchId, Leases, Role, TakeLimits, WorkerId};
use mutt_servers::{Fault, FaultProxy, PostgresServer};

use super::rig::{Rig, event, eventually};
use crate::audit::{CopyBuffer, DeadEntry, Entry, Outbox, Template, UnhandledGroup, Writer, Written};

/// A worker of another process, with leases that lapse at once when it dies.
fn dead_worker(rig: &Rig) -> Leases {
    Leases::new(rig.redis.clone(), rig.keys.clone(), Role::Alerter, WorkerId::named("dead-1"), Duration::from_millis(1))
}

async fn taken(leases: &Leases) -> Batch {
    leases.take(BatchId::new(), TakeLimits::default()).await.unwrap().batch.unwrap()
}

#[tokio::test]
async fn a_batch_of_a_dead_worker_is_audited_by_another() {
    let rig = Rig::start().await;
    rig.push(&[event("a", "x"), event("b", "y")]).await;
    taken(&dead_worker(&rig)).await;
    let alerter = rig.alerter(&[]).await;
    rig.until_drained().await;
    assert_eq!(rig.text("SELECT string_agg(hostname, ',' ORDER BY id) FROM event_audit_log").await, "a,b");
    assert_eq!(alerter.metric("mutt_alerter_batches_taken_over_total", ""), 1);
}

#[tokio::test]
async fn after_a_crash_between_commit_and_finish_the_stored_outbox_counts() {
    let rig = Rig::start().await;
    // The rules have changed since: the successor must not decide again.
    rig.sql("INSERT INTO alert_rules (match_string, prod_handling, dev_handling, team_assignment) VALUES ('x', 'Ignore', 'Ignore', 'NEW')").await;
    rig.push_raw(&[event("a", "x").to_string(), event("b", "y").to_string(), "no json".to_owned()]).await;
    let batch = taken(&dead_worker(&rig)).await;
    let outbox = Outbox {
        handled: 1,
        templates: vec![Template { rule: "old".into(), team: "OLD".into(), severity: "Minor".into() }],
        alerts: vec![(0, 0)],
        groups: vec![UnhandledGroup { host: "b".into(), signature: "s".into(), elements: vec![1] }],
        dead: vec![DeadEntry { element: 2, reason: "not_json".into(), detail: "d".into(), attempts: 1 }],
    };
    let mut writer = Writer::new(rig.pool.clone());
    let text = serde_json::to_string(&outbox).unwrap();
    let entry = Entry { batch: batch.lease.batch, rows: &CopyBuffer::default(), outbox: &text };
    assert_eq!(writer.write(&[entry]).await.unwrap(), Written::Committed);
    let _alerter = rig.alerter(&[]).await;
    rig.until_drained().await;
    assert_eq!(rig.text("SELECT count(*) FROM event_audit_log").await, "0", "audited before, so nothing is added");
    let alerts = rig.list("mutt:alert_queue").await;
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0]["rule"].as_str(), alerts[0]["team_assignment"].as_str()), (Some("old"), Some("OLD")));
    assert_eq!(alerts[0]["raw_json"]["hostname"], "a");
    assert_eq!(rig.list("mutt:dlq:alerter").await[0]["event"], "no json");
    assert_eq!(rig.query::<i64>(cmd("GET").arg("mutt:unhandled:b:s")).await, 1);
}

#[tokio::test]
async fn the_event_that_kills_workers_is_dead_lettered_and_the_rest_is_audited() {
    let rig = Rig::start().await;
    rig.push(&[event("a", "x"), event("killer", "y"), event("b", "z")]).await;
    let dead = dead_worker(&rig);
    taken(&dead).await;
    // Three workers die while matching the batch, a fourth one while matching its second event alone.
    for step in [None, None, Some(1)] {
        eventually("the batch is taken over", async || {
            let found = dead.recover(1).await.unwrap();
            if let Some(found) = found.first() {
                // The lease has lapsed already, and lapses again with this.
                dead.set_step(&found.batch.lease, step).await.unwrap();
            }
            !found.is_empty()
        })
        .await;
    }
    let alerter = rig.alerter(&[]).await;
    rig.until_drained().await;
    assert_eq!(rig.text("SELECT string_agg(hostname, ',' ORDER BY id) FROM event_audit_log").await, "a,b");
    let letters = rig.list("mutt:dlq:alerter").await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0]["reason"].as_str(), letters[0]["event"]["hostname"].as_str()),
        (Some("poison"), Some("killer"))
    );
    assert!(letters[0]["attempts"].as_u64().unwrap() >= 3);
    eventually("poison is counted", async || alerter.metric("mutt_alerter_events_processed_total", "poison") == 1)
        .await;
}

#[tokio::test]
async fn postgresql_away_holds_everything_and_its_return_resumes() {
    let own = PostgresServer::start().await.unwrap();
    let mut rig = Rig::start().await;
    rig.database_url = own.fresh_database().await.unwrap();
    rig.pool = sqlx::PgPool::connect(&rig.database_url).await.unwrap();
    crate::db::migrate(&rig.pool).await.unwrap();
    let alerter = rig.alerter(&[]).await;
    rig.push(&[event("before", "x")]).await;
    rig.until_drained().await;
    own.kill().await.unwrap();
    rig.push(&[event("during", "x")]).await;
    eventually("the alerter is not ready", async || !alerter.ready().await).await;
    assert_eq!(rig.query::<u64>(cmd("LLEN").arg("mutt:dlq:alerter")).await, 0, "an outage dead-letters nothing");
    own.restart().await.unwrap();
    eventually("the alerter is ready again", async || alerter.ready().await).await;
    rig.until_drained().await;
    rig.pool = sqlx::PgPool::connect(&rig.database_url).await.unwrap();
    assert_eq!(rig.text("SELECT string_agg(hostname, ',' ORDER BY id) FROM event_audit_log").await, "before,during");
}

#[tokio::test]
async fn redis_away_is_survived() {
    let rig = Rig::start().await;
    let alerter = rig.alerter(&[]).await;
    rig.redis_server.stop().await.unwrap();
    eventually("the alerter is not ready", async || !alerter.ready().await).await;
    rig.redis_server.restart().await.unwrap();
    eventually("the alerter is ready again", async || alerter.ready().await).await;
    rig.push(&[event("after", "x")]).await;
    rig.until_drained().await;
    assert_eq!(rig.text("SELECT hostname FROM event_audit_log").await, "after");
}

#[tokio::test]
async fn an_end_during_an_outage_hands_the_batch_back_at_no_cost() {
    let rig = Rig::start().await;
    let alerter = rig.alerter(&[]).await;
    // Locked against the COPY, as a migration might do.
    let mut lock = rig.pool.begin().await.unwrap();
    sqlx::Executor::execute(&mut *lock, "LOCK TABLE event_audit_log IN ACCESS EXCLUSIVE MODE").await.unwrap();
    rig.push(&[event("held", "x")]).await;
    eventually("the batch is held", async || alerter.metric("mutt_alerter_batches_holding", "") >= 1).await;
    alerter.stop().unwrap();
    let state: Vec<String> = rig.query(cmd("HVALS").arg("mutt:leases:alerter:state")).await;
    assert_eq!(state, ["h|0||"], "held, no tries");
    lock.rollback().await.unwrap();
    let _next = rig.alerter(&[]).await;
    rig.until_drained().await;
    assert_eq!(rig.text("SELECT hostname FROM event_audit_log").await, "held");
}

#[tokio::test]
async fn an_end_while_postgresql_is_frozen_leaves_nothing_that_must_lapse() {
    let mut rig = Rig::start().await;
    let server = PostgresServer::shared().await.unwrap();
    let proxy = FaultProxy::start(server.port()).await.unwrap();
    let direct = rig.database_url.clone();
    rig.database_url = proxy.through(&direct, server.port());
    let alerter = rig.alerter(&[("SHUTDOWN_TIMEOUT", "4")]).await;
    let mut lock = rig.pool.begin().await.unwrap();
    sqlx::Executor::execute(&mut *lock, "LOCK TABLE event_audit_log IN ACCESS EXCLUSIVE MODE").await.unwrap();
    rig.push(&[event("frozen", "x")]).await;
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'event_audit_log'::regclass AND NOT granted";
    rig.until(&format!("SELECT ({waits})::text"), "true").await;
    // In the middle of the COPY nothing passes any more, as from a server that stands still.
    proxy.set(Fault::HalfOpen).await;
    lock.rollback().await.unwrap();
    alerter.stop().unwrap();
    assert_eq!(rig.query::<Vec<String>>(cmd("HVALS").arg("mutt:leases:alerter:state")).await, ["h|0||"]);
    let leases: Vec<(String, f64)> =
        rig.query(cmd("ZRANGE").arg("mutt:leases:alerter").arg(0).arg(-1).arg("WITHSCORES")).await;
    assert!(leases.len() == 1 && leases[0].1 == 0.0, "lapsed now, for whoever comes next: {leases:?}");
    let said: u64 = rig.query(cmd("EXISTS").arg("mutt:rules:ack").arg("mutt:workers:alerter")).await;
    assert_eq!(said, 0, "its heartbeat and what it said of its rules went with it");
    rig.database_url = direct;
    let _next = rig.alerter(&[]).await;
    rig.until_drained().await;
    assert_eq!(rig.text("SELECT string_agg(hostname, ',') FROM event_audit_log").await, "frozen", "audited once");
}

#[tokio::test]
async fn without_a_verified_rule_set_nothing_is_taken() {
    let rig = Rig::start().await;
    rig.push(&[event("a", "x")]).await;
    let alerter = rig.launch(&[("RULES_SOURCE", "redis")]).await;
    eventually("a load has failed", async || alerter.metric("mutt_alerter_cache_reload_failures_total", "") >= 1).await;
    assert!(!alerter.ready().await);
    assert_eq!(rig.query::<u64>(cmd("LLEN").arg("mutt:ingest_queue")).await, 1);
}
