//! Tests of the schema against a real PostgreSQL; the helpers serve the other modules' tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mutt_servers::PostgresServer;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor, PgPool};

use super::duplicates::duplicates;
use super::partitions::PartitionState;
use super::retention::retention;
use super::status::status;
use super::*;

/// What MUTT 2.3 to 2.5 created, as far as columns and indexes matter.
const SCHEMA_OF_2X: &str = "
    CREATE TABLE alert_rules (id serial PRIMARY KEY, match_string varchar(255), trap_oid varchar(255),
        syslog_severity int CHECK (syslog_severity BETWEEN 0 AND 7), match_type varchar(20) NOT NULL DEFAULT 'contains',
        priority int NOT NULL DEFAULT 100, prod_handling varchar(100) NOT NULL, dev_handling varchar(100) NOT NULL,
        team_assignment varchar(100) NOT NULL, is_active boolean NOT NULL DEFAULT true);
    CREATE TABLE development_hosts (hostname varchar(255) PRIMARY KEY);
    CREATE TABLE device_teams (hostname varchar(255) PRIMARY KEY, team_assignment varchar(100) NOT NULL);
    CREATE TABLE event_audit_log (id bigserial, event_timestamp timestamptz NOT NULL, hostname varchar(255) NOT NULL,
        matched_rule_id int NOT NULL REFERENCES alert_rules (id), handling_decision varchar(100) NOT NULL,
        forwarded_to_moog boolean NOT NULL DEFAULT false, raw_message jsonb, PRIMARY KEY (id, event_timestamp))
        PARTITION BY RANGE (event_timestamp);
    CREATE TABLE event_audit_log_2025_01 PARTITION OF event_audit_log FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
    CREATE INDEX idx_audit_hostname ON event_audit_log (hostname);
    CREATE INDEX idx_audit_raw ON event_audit_log USING gin (raw_message);
    CREATE INDEX idx_by_hand ON event_audit_log_2025_01 (handling_decision);
    CREATE FUNCTION create_monthly_partition(target_date date) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
    CREATE TABLE config_audit_log (id serial PRIMARY KEY, changed_at timestamptz NOT NULL DEFAULT now(),
        changed_by varchar(100) NOT NULL, operation varchar(10) NOT NULL, table_name varchar(50) NOT NULL,
        record_id int NOT NULL, old_values jsonb, new_values jsonb, reason text, correlation_id varchar(100));
    INSERT INTO alert_rules (match_string, prod_handling, dev_handling, team_assignment) VALUES ('x', 'Ticket_only', 'Ignore', 'NETO');
    INSERT INTO event_audit_log (event_timestamp, hostname, matched_rule_id, handling_decision, raw_message)
        VALUES ('2025-01-05', 'sw1', 1, 'Ticket_only', '{\"a\": 1}');
    INSERT INTO config_audit_log (changed_by, operation, table_name, record_id) VALUES ('me', 'UPDATE', 'alert_rules', 1);";

/// A pool on an empty database of the test process' PostgreSQL, and its URL.
pub(crate) async fn empty_database() -> (PgPool, String) {
    let url = PostgresServer::shared().await.unwrap().fresh_database().await.unwrap();
    let pool = PgPoolOptions::new().max_connections(3).connect(&url).await.unwrap();
    (pool, url)
}

/// The same with the schema.
pub(crate) async fn migrated_database() -> (PgPool, String) {
    let (pool, url) = empty_database().await;
    migrate(&pool).await.unwrap();
    (pool, url)
}

/// Runs statements.
pub(crate) async fn sql(pool: &PgPool, statements: &str) {
    pool.execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))).await.unwrap();
}

/// One value as text.
pub(crate) async fn text(pool: &PgPool, query: &str) -> String {
    let query = format!("SELECT coalesce(({query})::text, '')");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn migrating_twice_changes_nothing_and_status_finds_no_problem() {
    let (pool, _) = empty_database().await;
    assert_eq!(status(&pool).await.unwrap().version, 0);
    let first = migrate(&pool).await.unwrap();
    assert!(first.applied > 0 && first.partitions_made.len() > 10, "{first:?}");
    let second = migrate(&pool).await.unwrap();
    assert_eq!((second.applied, second.version), (0, first.version));
    assert_eq!(second.partitions_made, Vec::<String>::new());
    let status = status(&pool).await.unwrap();
    assert_eq!(status.problems, Vec::<String>::new());
    assert_eq!(partition_state(&pool).await.unwrap(), PartitionState { default_used: false, months_missing: 0 });
    // Each further index costs ingest.
    let indexes = text(&pool, "SELECT string_agg(c.relname, ' ' ORDER BY 1) FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = 'event_audit_log'::regclass").await;
    assert_eq!(indexes, "event_audit_log_host_time event_audit_log_time");
}

#[tokio::test]
async fn an_older_mutt_leaves_the_schema_of_a_newer_one_alone() {
    let (pool, _) = migrated_database().await;
    sql(
        &pool,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99990101000000, 'of a newer version', true, '\\x00', 0)",
    )
    .await;
    let migrated = migrate(&pool).await.unwrap();
    assert_eq!((migrated.applied, migrated.version), (0, 99_990_101_000_000));
}

#[tokio::test]
async fn a_database_of_mutt_2x_is_widened_and_its_rows_stay() {
    let (pool, _) = empty_database().await;
    sql(&pool, SCHEMA_OF_2X).await;
    migrate(&pool).await.unwrap();
    assert_eq!(text(&pool, "SELECT raw_message || hostname FROM event_audit_log").await, "{\"a\": 1}sw1");
    assert_eq!(text(&pool, "SELECT record_id FROM config_audit_log").await, "1");
    let by_hand = text(
        &pool,
        "SELECT count(*) FROM pg_class WHERE relname IN ('idx_audit_hostname', 'idx_audit_raw', 'idx_by_hand')",
    )
    .await;
    assert_eq!(by_hand, "0", "old indexes cost ingest");
    // A rule with audit rows can be deleted, texts may be long, old positional inserts work.
    sql(&pool, "DELETE FROM alert_rules").await;
    sql(
        &pool,
        &format!(
            "INSERT INTO alert_rules VALUES (7, '{}', NULL, 3, 'contains', 10, 'a', 'b', 'c', true)",
            "y".repeat(3_000)
        ),
    )
    .await;
    sql(
        &pool,
        "INSERT INTO event_audit_log (event_timestamp, hostname, handling_decision) VALUES (now(), 'h', 'unhandled')",
    )
    .await;
    sql(&pool, "INSERT INTO config_audit_log (changed_by, operation, table_name, record_id) VALUES ('me', 'UPDATE', 'settings', 'moog_rate_limit')").await;
    assert_eq!(text(&pool, "SELECT create_monthly_partition('2031-05-20')").await, "true");
}

#[tokio::test]
async fn retention_moves_rows_out_of_default_and_drops_what_is_old() {
    let (pool, _) = migrated_database().await;
    sql(
        &pool,
        "
        DROP TABLE event_audit_log_default;
        CREATE TABLE event_audit_log_default PARTITION OF event_audit_log DEFAULT;
        SELECT create_monthly_partition('2020-01-01');
        INSERT INTO event_audit_log (event_timestamp, hostname, handling_decision, received_at) VALUES
            ('2020-01-15', 'old month', 'x', now()),
            (date_trunc('month', now()) - interval '5 months', 'late', 'x', now()),
            ('1970-01-01', 'no clock', 'x', now()),
            ('1970-01-01', 'trimmed', 'x', now() - interval '2 years');
        INSERT INTO audit_batch SELECT uuid_v7_floor(current_date - 30), '{}';
        SELECT create_audit_batch_partition(current_date - 20)",
    )
    .await;
    assert!(partition_state(&pool).await.unwrap().default_used);
    let kept = retention(&pool, 12, false).await.unwrap();
    assert_eq!((kept.months_dropped, kept.default_rows_deleted, kept.batch_days_dropped), (1, 1, None));
    assert_eq!(kept.partitions_made.len(), 1, "the late event's month: {:?}", kept.partitions_made);
    assert_eq!(
        text(&pool, "SELECT string_agg(hostname, ',' ORDER BY hostname) FROM event_audit_log").await,
        "late,no clock"
    );
    assert_eq!(text(&pool, "SELECT string_agg(hostname, ',') FROM event_audit_log_default").await, "no clock");
    let dropped = retention(&pool, 12, true).await.unwrap();
    assert_eq!(dropped.batch_days_dropped, Some(1));
    assert_eq!(text(&pool, "SELECT count(*) FROM audit_batch").await, "0");
}

#[tokio::test]
async fn a_month_made_late_takes_its_rows_and_waits_for_no_long_transaction() {
    let (pool, url) = migrated_database().await;
    let next = "(date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month')";
    let name = text(&pool, &format!("SELECT 'event_audit_log_' || to_char({next}, 'YYYY_MM')")).await;
    sql(&pool, &format!("DROP TABLE {name}; INSERT INTO event_audit_log (event_timestamp, hostname, handling_decision) VALUES ({next} + interval '2 days', 'soon', 'x')")).await;
    assert_eq!(partition_state(&pool).await.unwrap(), PartitionState { default_used: true, months_missing: 1 });
    // A reader holds a lock that the move needs: retention tries again until it is gone.
    let other = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let mut reader = other.begin().await.unwrap();
    reader.execute("SELECT count(*) FROM event_audit_log").await.unwrap();
    let work = retention(&pool, 12, false);
    let release = async {
        // Until the first try has waited for its lock in vain, or at least begun to.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        reader.rollback().await.unwrap();
    };
    let (kept, ()) = tokio::join!(work, release);
    assert_eq!(kept.unwrap().partitions_made, vec![name.clone()]);
    assert_eq!(text(&pool, &format!("SELECT hostname FROM {name}")).await, "soon");
    assert_eq!(partition_state(&pool).await.unwrap(), PartitionState { default_used: false, months_missing: 0 });
}

#[tokio::test]
async fn duplicates_are_found_and_searches_read_json_safely() {
    let (pool, _) = migrated_database().await;
    sql(&pool, "INSERT INTO event_audit_log (event_timestamp, hostname, handling_decision, event_id, raw_message)
        SELECT now(), 'h' || n, 'x', ('00000000-0000-7000-8000-00000000000' || least(n, 2))::uuid, CASE n WHEN 1 THEN 'no json' ELSE '{\"n\":' || n || '}' END
        FROM generate_series(1, 3) n").await;
    let found = duplicates(&pool, 24, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].hostname.as_str(), found[0].rows, found[0].row_ids.len()), ("h2", 2, 2));
    assert_eq!(
        text(
            &pool,
            "SELECT string_agg(hostname, ',') FROM event_audit_log WHERE jsonb_or_null(raw_message)->>'n' = '3'"
        )
        .await,
        "h3"
    );
}

#[tokio::test]
async fn every_change_of_rules_raises_the_counter() {
    let (pool, _) = migrated_database().await;
    let mut before: i64 = text(&pool, "SELECT counter FROM rules_change").await.parse().unwrap();
    for change in [
        "INSERT INTO alert_rules (match_string, prod_handling, dev_handling, team_assignment) VALUES ('a', 'b', 'c', 'd')",
        "UPDATE alert_rules SET priority = 1",
        "INSERT INTO development_hosts VALUES ('lab')",
        "DELETE FROM development_hosts",
        "INSERT INTO device_teams VALUES ('sw1', 'NETO')",
        "TRUNCATE alert_rules",
    ] {
        sql(&pool, change).await;
        let after: i64 = text(&pool, "SELECT counter FROM rules_change").await.parse().unwrap();
        assert!(after > before, "{change}");
        before = after;
    }
}
