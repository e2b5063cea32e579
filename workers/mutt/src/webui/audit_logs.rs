//! `GET audit-logs`: searches in the audit trail of events, newest first.
//!
//! The table has one btree, on (hostname, event_timestamp), and a BRIN index on time. A search by host walks the
//! btree. Any other search walks back in growing windows of time, so that the newest page of a table of a
//! hundred million rows reads seconds of it, not the whole.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::error::ApiError;
use super::input::{HOSTNAME_BYTES_MAX, Params};
use super::openapi::{BadRequest, Unauthorized, Unavailable};
use super::paging::{Cursor, Page, Pagination, Total};
use super::time::{self, Micros, iso};

/// Time limit of one search statement: above the seconds a cold search of a month takes, below a browser's patience.
const SEARCH_SECONDS_MAX: u64 = 15;
/// Time limit of counting; then PostgreSQL's estimate has to do.
const COUNT_TIME_MAX: Duration = Duration::from_secs(2);
/// Rows counted one by one; more are estimated.
const COUNT_ROWS_MAX: i64 = 100_000;
/// How far back each try looks. Steps of about 15: what the tries before the last read is then below a tenth.
const WINDOWS: [Duration; 6] = [
    Duration::from_secs(10),
    Duration::from_secs(150),
    Duration::from_mins(40),
    Duration::from_hours(10),
    Duration::from_hours(6 * 24),
    Duration::from_hours(90 * 24),
];

/// One audited event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditLog {
    /// Number of the row.
    id: i64,
    /// The event's own time, ISO 8601 UTC.
    event_timestamp: String,
    /// Device that sent the event.
    hostname: String,
    /// Rule that took the event; null if none did or the rule has no number.
    matched_rule_id: Option<i32>,
    /// Handling as the rule words it, or `unhandled`.
    handling_decision: String,
    /// Whether an alert was to be forwarded, decided at the time of the audit.
    forwarded_to_moog: bool,
    /// The queued event, unchanged.
    raw_message: Option<String>,
    /// When MUTT accepted the event, ISO 8601 UTC.
    received_at: Option<String>,
    /// MUTT's own id of the event.
    event_id: Option<String>,
    /// The sender's correlation id, or the one MUTT made.
    correlation_id: Option<String>,
    /// Name of the rule that took the event.
    rule_name: Option<String>,
    /// Revision of the rule set it was matched against.
    rule_revision: Option<String>,
    /// Team of the rule.
    team: Option<String>,
}

/// Answer of a search in the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditLogs {
    /// The events, newest first.
    logs: Vec<AuditLog>,
    /// Where they stand in the whole result.
    pagination: Pagination,
}

/// Parameters of a search in the audit trail.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct AuditLogParams {
    /// Page by number; not together with `cursor`.
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    page: Option<i64>,
    /// Rows of a page; AUDIT_LOG_PAGE_SIZE if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// Only this host, exactly.
    #[param(max_length = 255)]
    hostname: Option<String>,
    /// Only events this rule took.
    #[param(minimum = 1, maximum = 2_147_483_647)]
    rule_id: Option<i32>,
    /// From this date or time on (ISO 8601; without zone = UTC).
    start_date: Option<String>,
    /// Up to and including this date or time.
    end_date: Option<String>,
    /// `next_cursor` of an earlier answer: what follows it, whatever came in meanwhile.
    cursor: Option<String>,
}

/// What is searched.
#[derive(Debug)]
struct Search {
    hostname: Option<String>,
    rule_id: Option<i32>,
    /// First instant of the range.
    start: Option<Micros>,
    /// End of the range, exclusive.
    end: Option<Micros>,
}

impl Search {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let (start, end) = time::range(params)?;
        Ok(Self {
            hostname: params.text("hostname", HOSTNAME_BYTES_MAX)?,
            rule_id: params.integer("rule_id", 1..=i64::from(i32::MAX))?.map(|id| id as i32),
            start,
            end,
        })
    }

    /// Appends the conditions; `start` may be later than the search's own.
    fn conditions(&self, query: &mut QueryBuilder<Postgres>, start: Option<Micros>) {
        query.push(" WHERE true");
        if let Some(hostname) = &self.hostname {
            query.push(" AND hostname = ").push_bind(hostname.clone());
        }
        if let Some(rule_id) = self.rule_id {
            query.push(" AND matched_rule_id = ").push_bind(rule_id);
        }
        if let Some(start) = start {
            query.push(" AND event_timestamp >= ");
            push_instant(query, start);
        }
        if let Some(end) = self.end {
            query.push(" AND event_timestamp < ");
            push_instant(query, end);
        }
    }
}

/// An instant without loss: a multiple of a microsecond, not a floating point number of seconds.
fn push_instant(query: &mut QueryBuilder<Postgres>, instant: Micros) {
    query.push("(timestamptz 'epoch' + interval '1 microsecond' * ").push_bind(instant).push("::bigint)");
}

/// Searches in the audit trail of events, newest first.
#[utoipa::path(get, path = "/audit-logs", tag = "audit", params(AuditLogParams), responses(
    (status = 200, body = AuditLogs), (status = 400, response = BadRequest),
    (status = 401, response = Unauthorized),
    (status = 503, response = Unavailable)))]
pub(crate) async fn list(State(api): State<Arc<Api>>, params: Params) -> Result<Json<AuditLogs>, ApiError> {
    let search = Search::read(&params)?;
    let page = Page::read(&params, api.audit_page_size)?;
    let pool = api.read_pool();
    let (mut logs, total) = api
        .timed("audit_logs", async {
            let logs = newest(pool, &search, &page).await?;
            let total = match page.cursor() {
                Some(_) => None,
                None => Some(count(pool, &search, page.offset() + logs.len() as i64).await?),
            };
            Ok::<_, ApiError>((logs, total))
        })
        .await?;
    let more = logs.len() as i64 > page.limit;
    logs.truncate(page.limit as usize);
    let last = logs.last().map(|(cursor, _)| *cursor);
    Ok(Json(AuditLogs {
        logs: logs.into_iter().map(|(_, log)| log).collect(),
        pagination: Pagination::new(&page, total, last, more),
    }))
}

/// Up to `limit + 1` rows of the page, newest first.
async fn newest(pool: &PgPool, search: &Search, page: &Page) -> Result<Vec<(Cursor, AuditLog)>, ApiError> {
    let mut transaction = pool.begin().await?;
    limit_time(&mut transaction, Duration::from_secs(SEARCH_SECONDS_MAX)).await?;
    let newest_end = page
        .cursor()
        .map(|cursor| cursor.time)
        .or(search.end)
        .unwrap_or_else(|| jiff::Timestamp::now().as_microsecond());
    // The btree gives a host's rows in order already.
    let windows: &[Duration] = if search.hostname.is_some() { &[] } else { &WINDOWS };
    let starts = windows
        .iter()
        .map(|window| newest_end.saturating_sub(window.as_micros() as Micros))
        .take_while(|start| search.start.is_none_or(|own| own < *start))
        .map(Some)
        .chain([search.start]);
    let mut rows = Vec::new();
    for start in starts {
        let mut query = select(search, page, start);
        rows = query.build().persistent(false).fetch_all(&mut *transaction).await.map_err(timeout_is_the_clients)?;
        if rows.len() as i64 > page.limit {
            break;
        }
    }
    rows.iter().map(log_from_row).collect()
}

fn select(search: &Search, page: &Page, start: Option<Micros>) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT id, (extract(epoch FROM event_timestamp) * 1000000)::bigint AS event_us, hostname, \
         matched_rule_id, handling_decision, forwarded_to_moog, raw_message, \
         (extract(epoch FROM received_at) * 1000000)::bigint AS received_us, event_id::text AS event_id, \
         correlation_id, rule_name, rule_revision, team FROM event_audit_log",
    );
    search.conditions(&mut query, start);
    if let Some(cursor) = page.cursor() {
        query.push(" AND event_timestamp <= ");
        push_instant(&mut query, cursor.time);
        query.push(" AND (event_timestamp, id) < (");
        push_instant(&mut query, cursor.time);
        query.push(", ").push_bind(cursor.id).push("::bigint)");
    }
    query.push(" ORDER BY event_timestamp DESC, id DESC LIMIT ");
    query.push_bind(page.limit + 1);
    query.push(" OFFSET ").push_bind(page.offset());
    query
}

fn log_from_row(row: &PgRow) -> Result<(Cursor, AuditLog), ApiError> {
    let event_us: Micros = row.try_get("event_us")?;
    let id = row.try_get("id")?;
    let log = AuditLog {
        id,
        event_timestamp: iso(event_us),
        hostname: row.try_get("hostname")?,
        matched_rule_id: row.try_get("matched_rule_id")?,
        handling_decision: row.try_get("handling_decision")?,
        forwarded_to_moog: row.try_get("forwarded_to_moog")?,
        raw_message: row.try_get("raw_message")?,
        received_at: row.try_get::<Option<Micros>, _>("received_us")?.map(iso),
        event_id: row.try_get("event_id")?,
        correlation_id: row.try_get("correlation_id")?,
        rule_name: row.try_get("rule_name")?,
        rule_revision: row.try_get("rule_revision")?,
        team: row.try_get("team")?,
    };
    Ok((Cursor { time: event_us, id }, log))
}

/// How many rows the search has: counted up to a bound and for a short time, then estimated.
async fn count(pool: &PgPool, search: &Search, seen: i64) -> Result<Total, ApiError> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM (SELECT FROM event_audit_log");
    search.conditions(&mut query, search.start);
    query.push(" LIMIT ").push_bind(COUNT_ROWS_MAX + 1).push(") counted");
    let mut transaction = pool.begin().await?;
    limit_time(&mut transaction, COUNT_TIME_MAX).await?;
    let counted: Result<i64, sqlx::Error> =
        query.build_query_scalar().persistent(false).fetch_one(&mut *transaction).await;
    transaction.rollback().await?;
    match counted {
        Ok(rows) if rows <= COUNT_ROWS_MAX => Ok(Total::Exact(rows)),
        Ok(rows) => Ok(Total::Estimate(estimate(pool, search).await?.max(rows).max(seen))),
        Err(error) if is_timeout(&error) => Ok(Total::Estimate(estimate(pool, search).await?.max(seen))),
        Err(error) => Err(error.into()),
    }
}

/// The planner's estimate.
async fn estimate(pool: &PgPool, search: &Search) -> Result<i64, ApiError> {
    let mut query = QueryBuilder::new("EXPLAIN (FORMAT JSON) SELECT FROM event_audit_log");
    search.conditions(&mut query, search.start);
    let plan: serde_json::Value = query.build_query_scalar().persistent(false).fetch_one(pool).await?;
    Ok(plan[0]["Plan"]["Plan Rows"].as_f64().map_or(0, |rows| rows as i64))
}

/// Makes the transaction read-only and bounds its statements.
async fn limit_time(transaction: &mut sqlx::Transaction<'_, Postgres>, limit: Duration) -> Result<(), ApiError> {
    sqlx::query("SELECT set_config('statement_timeout', $1, true), set_config('transaction_read_only', 'on', true)")
        .bind(limit.as_millis().to_string())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(database) if database.code().as_deref() == Some("57014"))
}

fn timeout_is_the_clients(error: sqlx::Error) -> ApiError {
    if is_timeout(&error) { ApiError::SearchTimeout(SEARCH_SECONDS_MAX) } else { error.into() }
}
