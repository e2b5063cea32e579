//! From the queue to rows, alerts, meta-alerts and dead letters.

use mutt_queue::redis::cmd;
use serde_json::json;

use super::rig::{Rig, event, eventually};

const RULES: &str = "
    INSERT INTO alert_rules (name, match_string, match_type, priority, prod_handling, dev_handling, team_assignment, spec) VALUES
        ('link', 'link down', 'contains', 10, 'Page_and_ticket', 'Ignore', 'NETO', '{\"severity\": \"Critical\"}'),
        ('quiet', 'heartbeat', 'contains', 20, 'Log_only', 'Log_only', 'NETO', NULL);
    INSERT INTO development_hosts VALUES ('lab-1');
    INSERT INTO device_teams VALUES ('chatty', 'SYSO')";

#[tokio::test]
async fn handled_events_are_audited_and_forwarded_as_the_rule_says() {
    let rig = Rig::start().await;
    rig.sql(RULES).await;
    let alerter = rig.alerter(&[]).await;
    let sent = event("core-1", "LINK DOWN \"x\"\u{0}ü");
    let (mut old, mut replayed) = (event("core-2", "heartbeat ok"), event("core-3", "what?"));
    old["_received_at"] = "2001-07-01T00:00:00.000000Z".into();
    replayed["_replays"] = 1.into();
    rig.push(&[sent.clone(), event("lab-1", "link down"), old, replayed]).await;
    rig.until_drained().await;
    let rows = "SELECT string_agg(concat_ws(' ', hostname, handling_decision, forwarded_to_moog, rule_name, team, matched_rule_id IS NOT NULL), ', ' ORDER BY id) FROM event_audit_log";
    assert_eq!(
        rig.text(rows).await,
        "core-1 Page_and_ticket t link NETO t, lab-1 Ignore f link NETO t, core-2 Log_only f quiet NETO t, core-3 unhandled f f"
    );
    assert_eq!(rig.text("SELECT raw_message FROM event_audit_log WHERE hostname = 'core-1'").await, sent.to_string());
    let ids = "SELECT event_id || correlation_id || (received_at AT TIME ZONE 'UTC')::text || (rule_revision ~ '^[0-9a-f]{64}$')::text FROM event_audit_log WHERE hostname = 'core-1'";
    assert_eq!(
        rig.text(ids).await,
        format!("{}c-core-12026-11-25 12:00:00.000001true", sent["_event_id"].as_str().unwrap())
    );
    let alerts = rig.list("mutt:alert_queue").await;
    assert_eq!(
        alerts,
        vec![
            json!({"hostname": "core-1", "team_assignment": "NETO", "severity": "Critical", "message_body": "LINK DOWN \"x\"\u{0}ü",
            "raw_json": sent, "rule": "link", "_event_id": sent["_event_id"], "_correlation_id": "c-core-1"})
        ]
    );
    let totals: std::collections::HashMap<String, i64> = rig.query(cmd("HGETALL").arg("mutt:totals")).await;
    assert_eq!((totals["accepted"], totals["finished"], totals["alerts"]), (4, 4, 1));
    // Another thread writes them one after the other.
    eventually("the metrics are written", async || {
        alerter.metric("mutt_alerter_events_processed_total", "") == 4
            && alerter.metric("mutt_alerter_events_processed_total", "unhandled") == 1
            && alerter.metric("mutt_alerter_cache_rules_count", "") == 2
            && alerter.metric("mutt_alerter_processing_latency_seconds_count", "") == 4
            && alerter.metric("mutt_accepted_to_audited_seconds_count", "") == 3
            && alerter.metric("mutt_accepted_to_audited_seconds_sum", "") > 700_000_000
            && alerter.metric("mutt_queue_depth", "queue=\"alert\",state=\"waiting\"") == 1
            && alerter.metric("mutt_dlq_depth", "") == 0
    })
    .await;
    let leftover: u64 = rig.query(cmd("EXISTS").arg("mutt:leases:alerter").arg("mutt:leases:alerter:state")).await;
    assert_eq!(leftover, 0);
    alerter.stop().unwrap();
    let acks: u64 = rig.query(cmd("HLEN").arg("mutt:rules:ack")).await;
    assert_eq!(acks, 0, "a worker takes its entry with it");
}

#[tokio::test]
async fn what_cannot_be_processed_becomes_a_dead_letter_with_its_reason() {
    let rig = Rig::start().await;
    let alerter = rig.alerter(&[]).await;
    let mut too_long = event("x", "m");
    too_long["hostname"] = "h".repeat(300).into();
    let elements: Vec<Vec<u8>> = vec![
        b"{\"half\":".to_vec(),
        b"[1]".to_vec(),
        b"\xff\x00".to_vec(),
        b"{\"hostname\":\"a\",\"message\":\"b\"}".to_vec(),
        too_long.to_string().into_bytes(),
        event("good", "m").to_string().into_bytes(),
    ];
    rig.push_raw(&elements).await;
    rig.until_drained().await;
    let dead = rig.list("mutt:dlq:alerter").await;
    let reasons: Vec<&str> = dead.iter().map(|entry| entry["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["not_json", "not_object", "not_utf8", "missing_field", "refused_by_database"]);
    assert_eq!(dead[0]["event"], "{\"half\":");
    assert_eq!(dead[3]["event"]["hostname"], "a");
    assert!(dead[3]["detail"].as_str().unwrap().contains("timestamp"));
    assert!(dead.iter().all(|entry| entry["attempts"] == 1 && entry["dead_lettered_at"].is_string()));
    assert_eq!(rig.text("SELECT string_agg(hostname, ',') FROM event_audit_log").await, "good");
    eventually("the metrics are written", async || alerter.metric("mutt_alerter_events_processed_total", "error") == 5)
        .await;
}

#[tokio::test]
async fn one_meta_alert_at_exactly_the_threshold() {
    let rig = Rig::start().await;
    rig.sql(RULES).await;
    let _alerter = rig.alerter(&[]).await;
    let events: Vec<_> = (0..99).map(|n| event("chatty", &format!("fan {n} of 10.0.0.{n} is loud"))).collect();
    rig.push(&events).await;
    rig.until_drained().await;
    assert_eq!(rig.list("mutt:alert_queue").await.len(), 0);
    let hundredth = event("chatty", "fan 7777 of 10.9.9.9 is loud");
    let more: Vec<_> = (0..50).map(|n| event("chatty", &format!("fan {n} of 10.0.1.{n} is loud"))).collect();
    rig.push(&[std::slice::from_ref(&hundredth), &more[..]].concat()).await;
    rig.until_drained().await;
    let alerts = rig.list("mutt:alert_queue").await;
    assert_eq!(alerts.len(), 1, "no second one while the first blocks it");
    assert_eq!(alerts[0]["hostname"], "MUTT_Alerter");
    assert_eq!(
        (alerts[0]["team_assignment"].as_str(), alerts[0]["severity"].as_str()),
        (Some("SYSO"), Some("Warning"))
    );
    assert_eq!(
        alerts[0]["message_body"],
        "[MUTT] Detected 100 unhandled messages in 86400s from 'chatty'. Sample message: fan 7777 of 10.9.9.9 is loud"
    );
    assert_eq!(alerts[0]["raw_json"], hundredth, "the event that reached the threshold");
    assert_ne!(alerts[0]["_correlation_id"], hundredth["_correlation_id"]);
    assert_eq!(rig.text("SELECT count(*) FROM event_audit_log WHERE handling_decision = 'unhandled'").await, "150");
    let triggered: Vec<String> = rig.query(cmd("KEYS").arg("mutt:unhandled:chatty:*:triggered")).await;
    assert_eq!(triggered.len(), 1);
}

#[tokio::test]
async fn limits_of_unhandled_events_change_at_run_time_and_the_scope_leaves_them_out_of_the_audit() {
    let rig = Rig::start().await;
    let _: i64 = rig
        .query(
            cmd("HSET").arg("mutt:settings").arg("unhandled_threshold").arg(3).arg("unhandled_expiry_seconds").arg(60),
        )
        .await;
    let _alerter = rig.alerter(&[("AUDIT_SCOPE", "handled"), ("UNHANDLED_SIGNATURE", "exact")]).await;
    rig.push(&[event("h", "a 1"), event("h", "a 2"), event("h", "a 3"), event("h", "a 1"), event("h", "a 1")]).await;
    rig.until_drained().await;
    let alerts = rig.list("mutt:alert_queue").await;
    assert_eq!(alerts.len(), 1, "three of one text; numbers are not masked");
    assert_eq!(alerts[0]["message_body"], "[MUTT] Detected 3 unhandled messages in 60s from 'h'. Sample message: a 1");
    assert_eq!(alerts[0]["team_assignment"], "NETO");
    assert_eq!(rig.text("SELECT count(*) FROM event_audit_log").await, "0");
    assert_eq!(
        rig.text("SELECT count(*) FROM audit_batch").await,
        "1",
        "the batch is on record, so that it is counted once"
    );
}

#[tokio::test]
async fn a_long_alert_queue_defers_and_loses_nothing() {
    let rig = Rig::start().await;
    rig.sql(RULES).await;
    let alerter = rig.alerter(&[("ALERTER_QUEUE_SHED_THRESHOLD", "2")]).await;
    rig.push(&[event("a", "link down"), event("b", "link down"), event("c", "link down")]).await;
    rig.until_drained().await;
    rig.push(&[event("d", "link down")]).await;
    eventually("the alerter defers", async || alerter.metric("mutt_alerter_deferring", "") == 1).await;
    assert_eq!(rig.query::<u64>(cmd("LLEN").arg("mutt:ingest_queue")).await, 1);
    let _: u64 = rig.query(cmd("DEL").arg("mutt:alert_queue")).await;
    rig.until_drained().await;
    assert_eq!(rig.text("SELECT count(*) FROM event_audit_log").await, "4");
}

#[tokio::test]
async fn a_storm_is_drained_by_several_lanes_and_every_event_is_audited_once() {
    let rig = Rig::start().await;
    rig.sql(RULES).await;
    let events: Vec<_> =
        (0..3_000).map(|n| event(&format!("h{}", n % 7), if n % 3 == 0 { "link down" } else { "noise" })).collect();
    rig.push(&events).await;
    let alerter = rig.alerter(&[]).await;
    rig.until_drained().await;
    assert_eq!(rig.text("SELECT count(*) || ' ' || count(DISTINCT event_id) FROM event_audit_log").await, "3000 3000");
    assert_eq!(
        rig.query::<u64>(cmd("LLEN").arg("mutt:alert_queue")).await,
        1_000 + 7,
        "alerts and a meta-alert per host"
    );
    eventually("the gap is read after the last finish", async || {
        alerter.metric("mutt_alerter_queue_depth", "") == 1_007 && alerter.metric("mutt_conservation_gap", "") == 0
    })
    .await;
}
