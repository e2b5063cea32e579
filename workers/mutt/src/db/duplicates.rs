//! `mutt db duplicates`: events audited more than once, which only a Redis that lost acknowledged data can cause.

use serde::Serialize;
use sqlx::PgPool;

use super::DbError;

/// An event with more than one audit row.
#[derive(Debug, Serialize, sqlx::FromRow)]
pub(crate) struct Duplicate {
    /// The pipeline's id of the event.
    pub event_id: String,
    /// The sending device.
    pub hostname: String,
    /// Number of rows.
    pub rows: i64,
    /// Ids of the rows, ascending; the first one is the original.
    pub row_ids: Vec<i64>,
}

/// Events received within the last `hours` that have more than one row, at most `limit`.
///
/// # Errors
/// When PostgreSQL does not answer.
pub(crate) async fn duplicates(pool: &PgPool, hours: i32, limit: i64) -> Result<Vec<Duplicate>, DbError> {
    let query = "SELECT event_id::text AS event_id, min(hostname) AS hostname, count(*) AS rows, array_agg(id ORDER BY id) AS row_ids
                 FROM event_audit_log
                 WHERE event_id IS NOT NULL AND received_at >= now() - make_interval(hours => $1)
                 GROUP BY event_id HAVING count(*) > 1 ORDER BY count(*) DESC, event_id LIMIT $2";
    Ok(sqlx::query_as(query).bind(hours).bind(limit).fetch_all(pool).await?)
}
