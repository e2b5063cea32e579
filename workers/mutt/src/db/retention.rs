//! `mutt db retention`: what a timer or CronJob runs once a day.

use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use super::DbError;
use super::partitions::{default_partition, make_ahead, with_lock_retry};

/// Rows per DELETE in the DEFAULT partition: short transactions, so that vacuum and writers keep going.
const TRIM_ROWS: i64 = 10_000;
/// A batch's row is needed until its lease is gone; leases last seconds, outages days.
pub(super) const BATCH_DAYS_KEPT: i32 = 7;

/// What `mutt db retention` did.
#[derive(Debug, Serialize)]
pub(crate) struct Retained {
    /// Partitions made by this run.
    pub partitions_made: Vec<String>,
    /// Monthly partitions dropped.
    pub months_dropped: i32,
    /// Rows deleted from the DEFAULT partition.
    pub default_rows_deleted: u64,
    /// Days of batches dropped; none if it is not known that no old batch is in flight.
    pub batch_days_dropped: Option<u32>,
}

/// Makes partitions ahead, drops those that ended more than `months` ago, trims the DEFAULT partition by the time of
/// receipt, and, if `no_old_lease` says that no batch older than a week is in flight, drops the batches' old days.
///
/// # Errors
/// When PostgreSQL refuses a step; what was done before stays done, and the next run goes on.
pub(crate) async fn retention(pool: &PgPool, months: i32, no_old_lease: bool) -> Result<Retained, DbError> {
    let partitions_made = make_ahead(pool).await?;
    let months_dropped = with_lock_retry(pool, "drop old partitions", async |connection: &mut PgConnection| {
        sqlx::query_scalar("SELECT drop_old_partitions($1)").bind(months).fetch_one(connection).await
    })
    .await?;
    let default_rows_deleted = trim_default(pool, months).await?;
    let batch_days_dropped = if no_old_lease { Some(drop_batch_days(pool).await?) } else { None };
    Ok(Retained { partitions_made, months_dropped, default_rows_deleted, batch_days_dropped })
}

async fn trim_default(pool: &PgPool, months: i32) -> Result<u64, DbError> {
    let Some(default) = default_partition(pool, "event_audit_log").await? else {
        return Ok(0);
    };
    // Rows of MUTT 2.x have no time of receipt.
    let statement = format!(
        "DELETE FROM {default} WHERE ctid = ANY (ARRAY (SELECT ctid FROM {default}
         WHERE coalesce(received_at, event_timestamp) < now() - make_interval(months => $1) LIMIT {TRIM_ROWS}))"
    );
    let mut deleted = 0;
    loop {
        let statement = sqlx::AssertSqlSafe(statement.clone());
        let rows = sqlx::query(statement).bind(months).execute(pool).await?.rows_affected();
        deleted += rows;
        if rows < TRIM_ROWS as u64 {
            return Ok(deleted);
        }
    }
}

async fn drop_batch_days(pool: &PgPool) -> Result<u32, DbError> {
    let days: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'audit_batch'::regclass AND c.relname ~ '^audit_batch_\\d{4}_\\d{2}_\\d{2}$'
           AND c.relname < 'audit_batch_' || to_char((now() AT TIME ZONE 'UTC') - make_interval(days => $1), 'YYYY_MM_DD')
         ORDER BY c.relname",
    )
    .bind(BATCH_DAYS_KEPT)
    .fetch_all(pool)
    .await?;
    for day in &days {
        with_lock_retry(pool, day, async |connection: &mut PgConnection| {
            sqlx::query(sqlx::AssertSqlSafe(format!("DROP TABLE {day}"))).execute(connection).await
        })
        .await?;
    }
    if let Some(default) = default_partition(pool, "audit_batch").await? {
        let statement =
            format!("DELETE FROM {default} WHERE batch_id < uuid_v7_floor((now() AT TIME ZONE 'UTC')::date - $1)");
        sqlx::query(sqlx::AssertSqlSafe(statement)).bind(BATCH_DAYS_KEPT).execute(pool).await?;
    }
    Ok(days.len() as u32)
}
