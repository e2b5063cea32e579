//! Monthly partitions of the audit trail and daily ones of the batches.

use std::time::Duration;

use serde::Serialize;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use super::DbError;

/// Partitions are there so many months before their first event is due.
pub(super) const MONTHS_AHEAD: i32 = 3;
/// Two weeks: a `mutt db retention` that runs daily may fail for some days.
const BATCH_DAYS_AHEAD: i32 = 14;
/// A lock is waited for so long at most, since all writers wait behind it.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
/// With the pauses between them, two minutes.
const LOCK_TRIES: u32 = 120;
/// SQLSTATE of a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// SQLSTATE of a partition whose range overlaps another one's: a partition of another name covers it.
const INVALID_OBJECT_DEFINITION: &str = "42P17";

/// Makes the audit partitions from last month to three months ahead, those of older months of which the DEFAULT
/// partition holds rows, and the batches' days. Returns the names of what was made.
pub(super) async fn make_ahead(pool: &PgPool) -> Result<Vec<String>, DbError> {
    let mut made = Vec::new();
    let months: Vec<String> = sqlx::query_scalar(
        "SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => n), 'YYYY-MM-DD')
         FROM generate_series(-1, $1::int) n",
    )
    .bind(MONTHS_AHEAD)
    .fetch_all(pool)
    .await?;
    for month in months.into_iter().chain(months_in_default(pool).await?) {
        let name = format!("event_audit_log_{}", month[..7].replace('-', "_"));
        let statement = "SELECT create_monthly_partition($1::date)";
        if make_one(pool, statement, &month, &name).await? {
            made.push(name);
        }
    }
    let days: Vec<String> = sqlx::query_scalar(
        "SELECT to_char((now() AT TIME ZONE 'UTC') + make_interval(days => n), 'YYYY-MM-DD')
         FROM generate_series(-1, $1::int) n",
    )
    .bind(BATCH_DAYS_AHEAD)
    .fetch_all(pool)
    .await?;
    for day in days {
        let name = format!("audit_batch_{}", day.replace('-', "_"));
        if make_one(pool, "SELECT create_audit_batch_partition($1::date)", &day, &name).await? {
            made.push(name);
        }
    }
    Ok(made)
}

/// Months of the last year with rows in the DEFAULT partition, as their first day.
async fn months_in_default(pool: &PgPool) -> Result<Vec<String>, DbError> {
    let Some(default) = default_partition(pool, "event_audit_log").await? else {
        return Ok(Vec::new());
    };
    let query = format!(
        "SELECT DISTINCT to_char(event_timestamp AT TIME ZONE 'UTC', 'YYYY-MM') || '-01' FROM {default}
         WHERE event_timestamp BETWEEN now() - interval '12 months' AND now() + make_interval(months => {MONTHS_AHEAD})"
    );
    Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(pool).await?)
}

async fn make_one(pool: &PgPool, statement: &'static str, first_day: &str, name: &str) -> Result<bool, DbError> {
    let made = with_lock_retry(pool, &format!("partition {name}"), async |connection: &mut PgConnection| {
        sqlx::query_scalar(statement).bind(first_day).fetch_one(connection).await
    })
    .await;
    match made {
        Err(DbError::Sql(error)) if code(&error) == INVALID_OBJECT_DEFINITION => {
            tracing::warn!(partition = name, %error, "another partition covers this range");
            Ok(false)
        }
        made => made,
    }
}

/// Runs `work` in a transaction that waits 200 ms for a lock, again and again with a pause that lets writers through.
pub(super) async fn with_lock_retry<T>(
    pool: &PgPool,
    what: &str,
    work: impl AsyncFn(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, DbError> {
    let mut connection = pool.acquire().await?;
    for _ in 0..LOCK_TRIES {
        let mut transaction = connection.begin().await?;
        transaction.execute(sqlx::raw_sql(LOCK_TIMEOUT)).await?;
        match work(&mut transaction).await {
            Ok(result) => {
                transaction.commit().await?;
                return Ok(result);
            }
            Err(error) if code(&error) == LOCK_NOT_AVAILABLE => {
                transaction.rollback().await?;
                tokio::time::sleep(Duration::from_millis(500 + fastrand::u64(..500))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(DbError::Locked { what: what.to_owned(), tries: LOCK_TRIES })
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned()
}

/// Quoted name of a table's DEFAULT partition.
pub(super) async fn default_partition(pool: &PgPool, table: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT partdefid::regclass::text FROM pg_partitioned_table WHERE partrelid = $1::regclass AND partdefid <> 0",
    )
    .bind(table)
    .fetch_optional(pool)
    .await
}

/// What the alarm on partitions needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionState {
    /// Whether the DEFAULT partition holds any row: a time outside every partition, or a month not made in time.
    pub default_used: bool,
    /// Months from now to three ahead that have no partition.
    pub months_missing: i64,
}

/// Looks whether the DEFAULT partition is used and which months lack a partition; cheap enough for once a minute.
///
/// # Errors
/// When PostgreSQL does not answer, or the schema is not there.
pub(crate) async fn partition_state(pool: &PgPool) -> Result<PartitionState, sqlx::Error> {
    let months_missing = sqlx::query_scalar(
        "SELECT count(*) FROM generate_series(0, $1::int) n
         WHERE to_regclass('event_audit_log_' || to_char((now() AT TIME ZONE 'UTC') + make_interval(months => n), 'YYYY_MM')) IS NULL",
    )
    .bind(MONTHS_AHEAD)
    .fetch_one(pool)
    .await?;
    let default_used = match default_partition(pool, "event_audit_log").await? {
        Some(default) => {
            let query = format!("SELECT EXISTS (SELECT FROM {default})");
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(pool).await?
        }
        None => false,
    };
    Ok(PartitionState { default_used, months_missing })
}
