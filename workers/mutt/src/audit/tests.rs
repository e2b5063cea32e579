//! The writer against a real PostgreSQL, with connections that break at the worst moment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use mutt_queue::BatchId;
use mutt_servers::{Fault, FaultProxy, PostgresServer};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::*;
use crate::db::tests::{migrated_database, sql, text};

fn row<'a>(hostname: &'a str, raw: &'a str) -> AuditRow<'a> {
    AuditRow {
        event_timestamp: timestamp::now(),
        hostname,
        matched_rule_id: None,
        handling_decision: "unhandled",
        forwarded_to_moog: false,
        raw_message: raw,
        received_at: timestamp::now(),
        event_id: Uuid::now_v7(),
        correlation_id: None,
        rule_name: None,
        rule_revision: "r",
        team: None,
    }
}

fn rows(hosts: &[&str]) -> CopyBuffer {
    let mut buffer = CopyBuffer::default();
    for host in hosts {
        buffer.push(&row(host, "{}"));
    }
    buffer
}

#[tokio::test]
async fn odd_values_come_back_as_they_went_in() {
    let (pool, _) = migrated_database().await;
    let mut buffer = CopyBuffer::default();
    let raw = "{\"message\":\"tab\\t quote' back\\\\slash \\u0000 ü 🚨\"}";
    let id = Uuid::now_v7();
    buffer.push(&AuditRow {
        event_timestamp: timestamp::parse("2024-02-29T23:59:59.999999Z").unwrap(),
        matched_rule_id: Some(i32::MAX),
        handling_decision: "Page_and_ticket",
        forwarded_to_moog: true,
        received_at: timestamp::parse("1969-12-31T23:59:59.5Z").unwrap(),
        event_id: id,
        correlation_id: Some("c'1"),
        rule_name: Some("netops/bgp"),
        team: Some("NETO"),
        ..row("nul\0host", raw)
    });
    buffer.push(&row("second", ""));
    let mut writer = Writer::new(pool.clone());
    assert_eq!(
        writer.write(&[Entry { batch: BatchId::new(), rows: &buffer, outbox: "{\"it's\":1}" }]).await.unwrap(),
        Written::Committed
    );
    let read = "SELECT concat_ws('|', event_timestamp AT TIME ZONE 'UTC', hostname, matched_rule_id, handling_decision, forwarded_to_moog,
                raw_message, received_at AT TIME ZONE 'UTC', event_id, correlation_id, rule_name, rule_revision, team)
                FROM event_audit_log WHERE matched_rule_id IS NOT NULL";
    let expected = format!(
        "2024-02-29 23:59:59.999999|nul\u{fffd}host|2147483647|Page_and_ticket|t|{raw}|1969-12-31 23:59:59.5|{id}|c'1|netops/bgp|r|NETO"
    );
    assert_eq!(text(&pool, read).await, expected);
    assert_eq!(
        text(&pool, "SELECT count(*) FROM event_audit_log WHERE hostname = 'second' AND team IS NULL AND id > 0").await,
        "1"
    );
    assert_eq!(text(&pool, "SELECT outbox FROM audit_batch").await, "{\"it's\":1}");
}

#[tokio::test]
async fn a_repeat_finds_the_stored_outbox_and_audits_nothing() {
    let (pool, _) = migrated_database().await;
    let batch = BatchId::new();
    assert_eq!(Writer::new(pool.clone()).stored(batch).await.unwrap(), None);
    Writer::new(pool.clone()).write(&[Entry { batch, rows: &rows(&["a", "b"]), outbox: "first" }]).await.unwrap();
    let mut successor = Writer::new(pool.clone());
    assert_eq!(successor.stored(batch).await.unwrap().as_deref(), Some("first"));
    let again = successor.write(&[Entry { batch, rows: &rows(&["a", "b"]), outbox: "second" }]).await.unwrap();
    assert_eq!(again, Written::Already("first".to_owned()));
    assert_eq!(text(&pool, "SELECT count(*) FROM event_audit_log").await, "2");
    // The connection is good for the next batch.
    assert_eq!(
        successor.write(&[Entry { batch: BatchId::new(), rows: &rows(&["c"]), outbox: "" }]).await.unwrap(),
        Written::Committed
    );
}

#[tokio::test]
async fn bad_rows_are_found_and_the_others_can_be_written() {
    let (pool, _) = migrated_database().await;
    let long = "x".repeat(300);
    let hosts: Vec<&str> = (0..50).map(|n| if [0, 17, 49].contains(&n) { long.as_str() } else { "ok" }).collect();
    let mut buffer = rows(&hosts);
    let batch = BatchId::new();
    let mut writer = Writer::new(pool.clone());
    let Written::BadRows(bad) = writer.write(&[Entry { batch, rows: &buffer, outbox: "" }]).await.unwrap() else {
        panic!("all rows were taken")
    };
    assert_eq!(bad.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 17, 49]);
    assert_eq!(text(&pool, "SELECT count(*) FROM event_audit_log").await, "0");
    for (row, _) in bad.iter().rev() {
        buffer.remove(*row);
    }
    assert_eq!(writer.write(&[Entry { batch, rows: &buffer, outbox: "" }]).await.unwrap(), Written::Committed);
    assert_eq!(text(&pool, "SELECT count(*) FROM event_audit_log WHERE hostname = 'ok'").await, "47");
}

#[tokio::test]
async fn a_missing_partition_or_table_holds_the_batch() {
    let (pool, _) = migrated_database().await;
    sql(&pool, "DROP TABLE event_audit_log_default").await;
    let mut buffer = CopyBuffer::default();
    buffer.push(&AuditRow { event_timestamp: timestamp::parse("1999-01-01T00:00:00Z").unwrap(), ..row("h", "") });
    let batch = BatchId::new();
    let mut writer = Writer::new(pool.clone());
    assert!(matches!(writer.write(&[Entry { batch, rows: &buffer, outbox: "" }]).await, Err(AuditError::Database(_))));
    sql(&pool, "CREATE TABLE event_audit_log_default PARTITION OF event_audit_log DEFAULT").await;
    assert_eq!(writer.write(&[Entry { batch, rows: &buffer, outbox: "" }]).await.unwrap(), Written::Committed);
    assert_eq!(text(&pool, "SELECT hostname FROM event_audit_log_default").await, "h");
}

#[tokio::test]
async fn whatever_answer_is_lost_the_batch_is_audited_once() {
    let server = PostgresServer::shared().await.unwrap();
    let (pool, url) = migrated_database().await;
    let proxy = FaultProxy::start(server.port()).await.unwrap();
    let broken = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .connect_lazy(&proxy.through(&url, server.port()))
        .unwrap();
    // Replies are cut after more and more bytes: in the login, the COPY, the COMMIT's answer.
    for cut in (0..1_400).step_by(50) {
        let batch = BatchId::new();
        let host = format!("h{cut}");
        let buffer = rows(&[&host, &host]);
        let mut writer = Writer::new(broken.clone());
        proxy.set(Fault::CutReplies(cut)).await;
        let first = tokio::time::timeout(
            Duration::from_millis(100),
            writer.write(&[Entry { batch, rows: &buffer, outbox: "first" }]),
        )
        .await;
        proxy.set(Fault::None).await;
        proxy.cut().await;
        drop(writer);
        let mut writer = Writer::new(broken.clone());
        let second = loop {
            // The lost connection's transaction may still be open for a moment.
            match writer.write(&[Entry { batch, rows: &buffer, outbox: "second" }]).await {
                Ok(written) => break written,
                Err(error) => drop(error),
            }
        };
        if let Ok(Ok(written)) = &first {
            assert_eq!(*written, Written::Committed);
            assert_eq!(second, Written::Already("first".to_owned()), "cut after {cut}");
        }
        assert_eq!(
            text(&pool, &format!("SELECT count(*) FROM event_audit_log WHERE hostname = '{host}'")).await,
            "2",
            "cut after {cut}"
        );
    }
}
