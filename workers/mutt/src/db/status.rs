//! `mutt db status`: version, partitions, sizes and what is wrong.

use serde::Serialize;
use sqlx::PgPool;

use super::DbError;
use super::migrate::{MIGRATOR, applied};
use super::partitions::{MONTHS_AHEAD, partition_state};

/// The state of the database.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// Version of the schema, 0 if there is none.
    pub version: i64,
    /// Version that this binary brings.
    pub version_of_binary: i64,
    /// Partitions of the audit trail.
    pub partitions: Vec<Partition>,
    /// Rules, active ones, development hosts, teams.
    pub rules: i64,
    /// Active rules.
    pub rules_active: i64,
    /// How often rules, development hosts or teams were changed.
    pub rules_change: i64,
    /// What somebody should look at; empty if all is well.
    pub problems: Vec<String>,
}

/// One partition of the audit trail.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Partition {
    /// Table name.
    pub name: String,
    /// Rows as estimated by the last ANALYZE; -1 = never analysed.
    pub rows_estimated: i64,
    /// Size with indexes.
    pub bytes: i64,
}

/// Reads the state.
///
/// # Errors
/// When PostgreSQL does not answer.
pub(crate) async fn status(pool: &PgPool) -> Result<Status, DbError> {
    let version = applied(pool).await?.last().copied().unwrap_or(0);
    let version_of_binary = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    let mut status = Status {
        version,
        version_of_binary,
        partitions: Vec::new(),
        rules: 0,
        rules_active: 0,
        rules_change: 0,
        problems: Vec::new(),
    };
    if version < version_of_binary {
        status
            .problems
            .push(format!("schema version {version}, this binary needs {version_of_binary}: run `mutt db migrate`"));
        if version == 0 {
            return Ok(status);
        }
    }
    status.partitions = sqlx::query_as(
        "SELECT c.oid::regclass::text AS name, c.reltuples::bigint AS rows_estimated, pg_total_relation_size(c.oid) AS bytes
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'event_audit_log'::regclass ORDER BY c.relname",
    )
    .fetch_all(pool)
    .await?;
    let counts: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM alert_rules), (SELECT count(*) FROM alert_rules WHERE is_active), (SELECT counter FROM rules_change)",
    )
    .fetch_one(pool)
    .await?;
    (status.rules, status.rules_active, status.rules_change) = counts;
    let partitions = partition_state(pool).await?;
    if partitions.months_missing > 0 {
        status.problems.push(format!(
            "{} of the next {MONTHS_AHEAD} months and this one have no partition: run `mutt db retention`",
            partitions.months_missing
        ));
    }
    if partitions.default_used {
        status.problems.push("the DEFAULT partition holds rows: events with times outside every partition, or `mutt db retention` ran late".to_owned());
    }
    Ok(status)
}
