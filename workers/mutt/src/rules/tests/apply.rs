//! `mutt rules apply` and `export` on real servers.

use std::sync::Arc;
use std::time::Duration;

use mutt_queue::{Keys, Redis, RedisSettings, Role, WorkerId, heartbeat};
use mutt_servers::{PostgresServer, RedisServer};
use sqlx::PgPool;
use tokio::sync::OnceCell;

use super::super::apply::{ApplyOptions, Destination, apply_to};
use super::super::export::read;
use super::super::sources::Sources;
use super::{FILE, sources};
use crate::db::migrate;
use crate::rulesource;

async fn destination() -> Destination {
    static REDIS: OnceCell<RedisServer> = OnceCell::const_new();
    let redis = REDIS.get_or_try_init(RedisServer::start).await.unwrap().url();
    let url = PostgresServer::shared().await.unwrap().fresh_database().await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    migrate(&pool).await.unwrap();
    let prefix = format!("t{}", uuid::Uuid::now_v7().simple());
    let redis = Redis::new(RedisSettings::from_url(&redis).unwrap());
    Destination { pool, redis, keys: Arc::new(Keys::new(&prefix)), name: "test".into() }
}

fn options() -> ApplyOptions {
    ApplyOptions { prune: false, dry_run: false, reason: Some("test".into()), wait: None, changed_by: "me".into() }
}

async fn audit_rows(destination: &Destination) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM config_audit_log").fetch_one(&destination.pool).await.unwrap()
}

/// Applies what an export wrote; nothing may change.
async fn assert_round_trip(destination: &Destination) {
    let exported = read(destination).await.unwrap();
    assert_eq!(exported.unreadable, []);
    let yaml = exported.yaml().unwrap();
    let before = (audit_rows(destination).await, rulesource::load_postgres(&destination.pool).await.unwrap().revision);
    let again = Sources::from_text(&yaml);
    assert_eq!(again.problems, [], "{yaml}");
    let pruned = ApplyOptions { prune: true, ..options() };
    let applied = apply_to(destination, &again, &pruned).await.unwrap();
    let after = (audit_rows(destination).await, rulesource::load_postgres(&destination.pool).await.unwrap().revision);
    assert_eq!(after, before, "{}\n{yaml}", applied.summary());
    assert_eq!(read(destination).await.unwrap().yaml().unwrap(), yaml);
}

#[tokio::test]
async fn what_is_applied_comes_back_by_export_and_applies_to_no_change() {
    let destination = destination().await;
    let applied = apply_to(&destination, &sources(FILE), &options()).await.unwrap();
    assert_eq!(applied.names(), [vec!["netops/bgp".to_owned(), "link".into()], vec![], vec![]]);
    assert!(applied.summary().contains("no alerter is running"), "{}", applied.summary());
    let by: Vec<(String, String)> =
        sqlx::query_as("SELECT DISTINCT changed_by, reason FROM config_audit_log WHERE operation = 'CREATE'")
            .fetch_all(&destination.pool)
            .await
            .unwrap();
    assert_eq!((by, audit_rows(&destination).await), (vec![("me".into(), "test".into())], 7));
    let announced: Option<String> =
        destination.redis.query(redis::cmd("GET").arg(&destination.keys.rules_current)).await.unwrap();
    let revision = rulesource::load_postgres(&destination.pool).await.unwrap().revision;
    assert_eq!(announced.as_deref(), Some(revision.as_str()));
    let exported = read(&destination).await.unwrap();
    assert_eq!(exported.rules, sources(FILE).rules);
    assert_round_trip(&destination).await;
    let names: Vec<String> = exported.files().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["netops.bgp.yaml", "link.yaml", "pipeline.yaml"]);
}

#[tokio::test]
async fn rules_of_mutt_2_survive_export_and_apply() {
    let destination = destination().await;
    sqlx::raw_sql(
        "INSERT INTO alert_rules (match_string, trap_oid, syslog_severity, match_type, priority, prod_handling, \
         dev_handling, team_assignment, is_active) VALUES \
         ('LINK: down  ', NULL, 0, 'contains', 5, 'Page_only', 'Ignore', 'NETO', true), \
         (E'tab\\tand \"quotes\" # and: colons', NULL, NULL, 'contains', 5, 'Ignore', 'Ignore', 'T', false), \
         ('neighbor (\\S+) \\d{1,3}', '1.3.6.1', NULL, 'regex', 1, 'Ticket_only', 'Ignore', 'null', true), \
         (NULL, '.1.3.6.1.4.1.9.*', 3, 'oid_prefix', 1, 'Ticket_only', 'Ignore', '0x1F', true), \
         ('ignored', '1.3.6.1.4', NULL, 'oid_prefix', 1, 'Ticket_only', 'Ignore', 'T', true), \
         (NULL, '1.3.6.1.5', NULL, 'contains', 1, '~', 'Ignore', 'T', true), \
         ('дверь 🚪', NULL, NULL, 'contains', 1, 'a: b', '- x', 'T', true)",
    )
    .execute(&destination.pool)
    .await
    .unwrap();
    assert_round_trip(&destination).await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_pruning_removes_what_the_files_lack() {
    let destination = destination().await;
    let dry = ApplyOptions { dry_run: true, ..options() };
    let applied = apply_to(&destination, &sources(FILE), &dry).await.unwrap();
    assert_eq!(applied.names()[0].len(), 2);
    assert!(applied.summary().contains("dry run"));
    assert_eq!((audit_rows(&destination).await, read(&destination).await.unwrap().rules.len()), (0, 0));

    apply_to(&destination, &sources(FILE), &options()).await.unwrap();
    let less = FILE
        .replace("priority: 10", "priority: 11")
        .replace("name: link", "name: link-2")
        .replace("[core-1, core-2]", "[core-1]");
    let pruned = ApplyOptions { prune: true, ..options() };
    let applied = apply_to(&destination, &sources(&less), &pruned).await.unwrap();
    assert_eq!(applied.names(), [vec!["link-2".to_owned()], vec!["netops/bgp".into()], vec!["link".into()]]);
    assert!(applied.summary().contains("~ netops/bgp (priority)"), "{}", applied.summary());
    assert!(applied.summary().contains("- team of core-2"), "{}", applied.summary());
    assert_eq!(read(&destination).await.unwrap().rules, sources(&less).rules);
    let deleted: i64 = sqlx::query_scalar("SELECT count(*) FROM config_audit_log WHERE operation = 'DELETE'")
        .fetch_one(&destination.pool)
        .await
        .unwrap();
    assert_eq!(deleted, 2);
}

#[tokio::test]
async fn a_row_that_is_no_rule_is_mended_by_its_name() {
    let destination = destination().await;
    sqlx::raw_sql(
        "INSERT INTO alert_rules (name, match_string, prod_handling, dev_handling, team_assignment, spec) \
         VALUES ('link', 'x', 'Ignore', 'Ignore', 'T', '{\"hosts\": 1}')",
    )
    .execute(&destination.pool)
    .await
    .unwrap();
    assert_eq!(read(&destination).await.unwrap().unreadable.len(), 1);
    let applied = apply_to(&destination, &sources(FILE), &options()).await.unwrap();
    assert_eq!(applied.names()[1], ["link"]);
    assert_eq!(read(&destination).await.unwrap().rules.len(), 2);
}

#[tokio::test]
async fn it_says_how_many_alerters_use_the_rules() {
    let destination = destination().await;
    let (redis, keys) = (destination.redis.clone(), destination.keys.clone());
    // Before each use: a heartbeat lasts 30 s, which a loaded machine may need for less than this test.
    let beat = async || {
        for name in ["a-1", "b-2"] {
            heartbeat::beat(&redis, &keys, Role::Alerter, &WorkerId::named(name), "1").await.unwrap();
        }
    };
    beat().await;
    apply_to(&destination, &sources(FILE), &options()).await.unwrap();
    let revision = rulesource::load_postgres(&destination.pool).await.unwrap().revision;
    let ack = |worker: &str| {
        let value = format!(r#"{{"revision":"{revision}","rules":2}}"#);
        let mut command = redis::cmd("HSET");
        command.arg(&keys.rules_ack).arg(worker).arg(value);
        command
    };
    redis.query::<i64>(&ack("a-1")).await.unwrap();
    beat().await;
    let waiting = ApplyOptions { wait: Some(Duration::from_millis(200)), ..options() };
    let applied = apply_to(&destination, &sources(FILE), &waiting).await.unwrap();
    assert!(applied.summary().contains("in use by 1 of 2 alerters\nnot yet: b-2"), "{}", applied.summary());
    redis.query::<i64>(&ack("b-2")).await.unwrap();
    beat().await;
    let waiting = ApplyOptions { wait: Some(Duration::from_secs(20)), ..options() };
    let applied = apply_to(&destination, &sources(FILE), &waiting).await.unwrap();
    assert!(applied.summary().contains("in use by 2 of 2 alerters"), "{}", applied.summary());
    assert!(applied.summary().contains("2 rules: 0 created, 0 updated, 0 deleted, 2 unchanged"));
}
