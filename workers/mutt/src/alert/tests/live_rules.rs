//! Rule changes that become active in running alerters.

use std::time::Duration;

use mutt_queue::redis::cmd;
use mutt_rules::{AlertRule, Revision, Rule, RuleSet};
use serde_json::json;

use super::rig::{Rig, Running, event, eventually};
use crate::rulesource::{announce_change, load_postgres, publish_bundle, wait_active};

fn alert_rule(name: &str, text: &str) -> AlertRule {
    serde_json::from_value(json!({
        "apiVersion": "mutt.dev/v1alpha1", "kind": "AlertRule", "metadata": {"name": name, "namespace": "netops"},
        "spec": {"match": {"message": {"contains": text}}, "team": "NETO",
                 "handling": {"production": "Page_only", "development": "Ignore"}}
    }))
    .unwrap()
}

async fn current(rig: &Rig) -> String {
    rig.query::<Option<String>>(cmd("GET").arg("mutt:rules:current")).await.unwrap_or_default()
}

async fn acknowledged(rig: &Rig, revision: &Revision) -> bool {
    let acks = wait_active(&rig.redis, &rig.keys, revision, Duration::from_mins(1)).await.unwrap();
    acks.all_active() && !acks.by_worker.is_empty()
}

async fn rules_in_use(alerter: &Running, count: i64) {
    eventually("so many rules are in use", async || alerter.metric("mutt_alerter_cache_rules_count", "") == count)
        .await;
}

#[tokio::test]
async fn a_change_by_sql_is_seen_announced_and_acknowledged() {
    let rig = Rig::start().await;
    let _alerter = rig.alerter(&[]).await;
    let empty = load_postgres(&rig.pool).await.unwrap().revision;
    assert!(acknowledged(&rig, &empty).await);
    assert_eq!(current(&rig).await, empty.as_str());
    rig.sql("INSERT INTO alert_rules (match_string, prod_handling, dev_handling, team_assignment) VALUES ('flap', 'Ticket_only', 'Ignore', 'NETO')").await;
    let changed = load_postgres(&rig.pool).await.unwrap().revision;
    assert!(acknowledged(&rig, &changed).await);
    assert_eq!(current(&rig).await, changed.as_str(), "whoever sees a change first raises the revision");
    rig.push(&[event("a", "flapping")]).await;
    rig.until_drained().await;
    let decided = format!("SELECT handling_decision FROM event_audit_log WHERE rule_revision = '{changed}'");
    assert_eq!(rig.text(&decided).await, "Ticket_only");
}

#[tokio::test]
async fn a_change_is_published_to_workers_that_do_not_poll() {
    let rig = Rig::start().await;
    let alerter = rig.alerter(&[("RULES_POLL_INTERVAL", "3600")]).await;
    rig.sql("INSERT INTO alert_rules (match_string, prod_handling, dev_handling, team_assignment) VALUES ('flap', 'Ticket_only', 'Ignore', 'NETO')").await;
    let revision = announce_change(&rig.pool, &rig.redis, &rig.keys).await.unwrap();
    assert!(acknowledged(&rig, &revision).await);
    // MUTT 2.x publishes on the old channel with any text.
    rig.sql("INSERT INTO development_hosts VALUES ('lab')").await;
    let _: i64 = rig.query(cmd("PUBLISH").arg("cache-reload").arg("reload")).await;
    eventually("the old channel works", async || alerter.metric("mutt_alerter_cache_dev_hosts_count", "") == 1).await;
    // SIGHUP.
    rig.sql("INSERT INTO device_teams VALUES ('sw1', 'SYSO')").await;
    alerter.reload.request();
    eventually("a reload works", async || alerter.metric("mutt_alerter_cache_teams_count", "") == 1).await;
    // A take names the revision that is current.
    rig.sql("DELETE FROM alert_rules").await;
    let deleted = load_postgres(&rig.pool).await.unwrap().revision;
    let _: () = rig.query(cmd("SET").arg("mutt:rules:current").arg(deleted.as_str())).await;
    rig.push(&[event("a", "x")]).await;
    assert!(acknowledged(&rig, &deleted).await);
}

#[tokio::test]
async fn a_bad_rule_is_reported_and_its_last_good_form_stays() {
    let rig = Rig::start().await;
    rig.sql("INSERT INTO alert_rules (id, name, match_string, match_type, prod_handling, dev_handling, team_assignment) VALUES
        (1, 'good', 'flap+', 'regex', 'Ticket_only', 'Ignore', 'NETO'), (2, 'bad', '(', 'regex', 'Ticket_only', 'Ignore', 'NETO')").await;
    let alerter = rig.alerter(&[]).await;
    rules_in_use(&alerter, 1).await;
    rig.sql("UPDATE alert_rules SET match_string = '[' WHERE id = 1; UPDATE alert_rules SET spec = '{\"mode\": 7}' WHERE id = 2").await;
    let revision = load_postgres(&rig.pool).await.unwrap().revision;
    assert!(acknowledged(&rig, &revision).await);
    let acks = wait_active(&rig.redis, &rig.keys, &revision, Duration::from_mins(1)).await.unwrap();
    let ack = acks.by_worker.values().next().unwrap();
    let errors: Vec<(&str, bool)> =
        ack.errors.iter().map(|error| (error.rule.as_str(), error.last_good_in_use)).collect();
    assert_eq!(errors, [("good", true), ("bad", false)]);
    assert!(ack.errors[1].reason.contains("spec"), "{:?}", ack.errors[1]);
    rig.push(&[event("a", "FLAPPP")]).await;
    rig.until_drained().await;
    assert_eq!(rig.text("SELECT rule_name FROM event_audit_log").await, "good");
}

#[tokio::test]
async fn rules_from_redis_end_to_end() {
    let rig = Rig::start().await;
    let set = |text: &str| RuleSet::new(vec![Rule::from(alert_rule("a", text))], ["lab-1".to_owned()], []);
    assert!(publish_bundle(&rig.redis, &rig.keys, 7, &set("one")).await.unwrap());
    let alerter = rig.alerter(&[("RULES_SOURCE", "redis"), ("RULES_POLL_INTERVAL", "3600")]).await;
    assert!(acknowledged(&rig, &set("one").revision()).await);
    assert!(!publish_bundle(&rig.redis, &rig.keys, 7, &set("stale")).await.unwrap(), "not a greater number");
    assert!(publish_bundle(&rig.redis, &rig.keys, 8, &set("two")).await.unwrap());
    assert!(acknowledged(&rig, &set("two").revision()).await);
    rig.push(&[event("core-1", "two"), event("lab-1", "two"), event("core-1", "one")]).await;
    rig.until_drained().await;
    let rows = "SELECT string_agg(concat_ws(' ', hostname, handling_decision, rule_name), ', ' ORDER BY id) FROM event_audit_log";
    assert_eq!(rig.text(rows).await, "core-1 Page_only netops/a, lab-1 Ignore netops/a, core-1 unhandled");
    // A bundle whose content is not what its name says is refused, and what is in use stays.
    let _: () = rig.query(cmd("SET").arg(rig.keys.rules_bundle(&"0".repeat(64))).arg("{\"rules\":[]}")).await;
    let _: () = rig.query(cmd("SET").arg("mutt:rules:current").arg("0".repeat(64))).await;
    alerter.reload.request();
    eventually("the bundle is refused", async || alerter.metric("mutt_alerter_cache_reload_failures_total", "") >= 1)
        .await;
    rig.push(&[event("core-2", "two")]).await;
    rig.until(&format!("{rows} WHERE hostname = 'core-2'"), "core-2 Page_only netops/a").await;
    eventually("it lags behind", async || alerter.metric("mutt_alerter_rules_lag_seconds", "") >= 1).await;
    assert!(publish_bundle(&rig.redis, &rig.keys, 9, &set("three")).await.unwrap());
    eventually("it has caught up", async || alerter.metric("mutt_alerter_rules_lag_seconds", "") == 0).await;
}

#[tokio::test]
async fn rules_from_files_end_to_end() {
    let rig = Rig::start().await;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        // By rename, as editors and kubectl do: a reader sees the old file or the new one.
        let path = dir.path().join(format!(".{name}"));
        std::fs::write(&path, text).unwrap();
        std::fs::rename(path, dir.path().join(name)).unwrap();
    };
    write("a.yaml", &serde_json::to_string(&alert_rule("a", "one")).unwrap());
    write(
        "pipeline.yaml",
        "apiVersion: mutt.dev/v1alpha1\nkind: MuttPipeline\nmetadata: {name: core}\nspec: {developmentHosts: [lab-1], teams: [{team: SYSO, hosts: [sw1]}]}\n",
    );
    let alerter = rig.alerter(&[("RULES_SOURCE", "dir"), ("RULES_DIR", dir.path().to_str().unwrap())]).await;
    rules_in_use(&alerter, 1).await;
    eventually("so is the pipeline", async || alerter.metric("mutt_alerter_cache_dev_hosts_count", "") == 1).await;
    write("b.yaml", &serde_json::to_string(&alert_rule("b", "two")).unwrap());
    rules_in_use(&alerter, 2).await;
    // A broken file takes out nothing that was good before.
    write("b.yaml", "kind: [");
    eventually("the fault is reported", async || alerter.metric("mutt_alerter_cache_rule_errors_count", "") == 1).await;
    rig.push(&[event("core-1", "two"), event("lab-1", "one")]).await;
    rig.until_drained().await;
    let rows = "SELECT string_agg(concat_ws(' ', hostname, handling_decision, rule_name), ', ' ORDER BY id) FROM event_audit_log";
    assert_eq!(rig.text(rows).await, "core-1 Page_only netops/b, lab-1 Ignore netops/a");
    std::fs::remove_file(dir.path().join("b.yaml")).unwrap();
    rules_in_use(&alerter, 1).await;
}
