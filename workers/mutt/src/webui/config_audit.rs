//! `config-audit` (also `audit`) and `config/history`: who changed what, when and why.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, QueryBuilder, Row};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::config;
use super::error::ApiError;
use super::input::Params;
use super::openapi::{BadRequest, Unauthorized, Unavailable};
use super::paging::{Cursor, Page, Pagination, Total};
use super::time::{self, Micros, iso};

/// Longest filter text in characters.
const FILTER_CHARS_MAX: usize = 255;

/// One change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigChange {
    /// Number of the row.
    id: i64,
    /// When, ISO 8601 UTC.
    changed_at: String,
    /// The person named in `X-User`, else the name of the key or tool.
    changed_by: String,
    /// CREATE, UPDATE or DELETE.
    operation: String,
    /// alert_rules, development_hosts, device_teams or settings.
    table_name: String,
    /// Number, name or key of the changed row.
    record_id: Option<String>,
    /// The row before; null for a CREATE.
    old_values: Option<Value>,
    /// The row after; null for a DELETE.
    new_values: Option<Value>,
    /// As the client gave it.
    reason: Option<String>,
    /// Of the request that made the change.
    correlation_id: Option<String>,
}

/// Changes, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigChanges {
    logs: Vec<ConfigChange>,
    pagination: Pagination,
}

/// Changes of settings, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigHistory {
    history: Vec<SettingChange>,
    pagination: Pagination,
}

/// One change of a setting.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SettingChange {
    /// Name of the setting.
    key: Option<String>,
    /// The value before; null if the workers' environment decided.
    old_value: Value,
    /// The value after; null if the workers' environment decides again.
    new_value: Value,
    /// When, ISO 8601 UTC.
    changed_at: String,
    /// Who.
    changed_by: String,
    /// Why.
    reason: Option<String>,
}

/// Parameters of a search in the configuration audit.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct ConfigAuditParams {
    /// Page by number; not together with `cursor`.
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    page: Option<i64>,
    /// Rows of a page.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// Only changes by this person or key.
    changed_by: Option<String>,
    /// Only CREATE, UPDATE or DELETE.
    operation: Option<String>,
    /// Only changes of this table.
    table_name: Option<String>,
    /// Only changes of this row.
    record_id: Option<String>,
    /// From this date or time on (ISO 8601; without zone = UTC).
    start_date: Option<String>,
    /// Up to and including this date or time.
    end_date: Option<String>,
    /// `next_cursor` of an earlier answer.
    cursor: Option<String>,
}

/// Parameters of the settings' history.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct HistoryParams {
    /// Page by number; not together with `cursor`.
    #[param(minimum = 1, maximum = 1_000_000, default = 1)]
    page: Option<i64>,
    /// Rows of a page.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// Only changes of this setting.
    key: Option<String>,
    /// `next_cursor` of an earlier answer.
    cursor: Option<String>,
}

/// What is searched.
#[derive(Debug, Default)]
struct Search {
    /// Column and the text it must equal.
    equal: Vec<(&'static str, String)>,
    start: Option<Micros>,
    end: Option<Micros>,
}

impl Search {
    fn read(params: &Params) -> Result<Self, ApiError> {
        let (start, end) = time::range(params)?;
        let mut equal = Vec::new();
        for name in ["changed_by", "table_name", "record_id"] {
            if let Some(text) = params.text(name, FILTER_CHARS_MAX)? {
                equal.push((name, text));
            }
        }
        if let Some(word) = params.get("operation")? {
            let word = word.to_ascii_uppercase();
            if !["CREATE", "UPDATE", "DELETE"].contains(&word.as_str()) {
                return Err(ApiError::field("operation", "must be CREATE, UPDATE or DELETE"));
            }
            equal.push(("operation", word));
        }
        Ok(Self { equal, start, end })
    }

    fn conditions(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" WHERE true");
        for (column, text) in &self.equal {
            query.push(" AND ").push(column).push(" = ").push_bind(text.clone());
        }
        if let Some(start) = self.start {
            query.push(" AND changed_at >= ");
            push_instant(query, start);
        }
        if let Some(end) = self.end {
            query.push(" AND changed_at < ");
            push_instant(query, end);
        }
    }
}

fn push_instant(query: &mut QueryBuilder<Postgres>, instant: Micros) {
    query.push("(timestamptz 'epoch' + interval '1 microsecond' * ").push_bind(instant).push("::bigint)");
}

/// Who changed what, when and why; newest first. `/audit` is the same.
#[utoipa::path(get, path = "/config-audit", tag = "audit", params(ConfigAuditParams), responses(
    (status = 200, body = ConfigChanges), (status = 400, response = BadRequest),
    (status = 401, response = Unauthorized), (status = 503, response = Unavailable)))]
pub(crate) async fn list(State(api): State<Arc<Api>>, params: Params) -> Result<Json<ConfigChanges>, ApiError> {
    let search = Search::read(&params)?;
    let (logs, pagination) = find(&api, &search, &params).await?;
    Ok(Json(ConfigChanges { logs, pagination }))
}

/// How the settings changed, newest first.
#[utoipa::path(get, path = "/config/history", tag = "config", params(HistoryParams), responses(
    (status = 200, body = ConfigHistory), (status = 400, response = BadRequest),
    (status = 401, response = Unauthorized), (status = 503, response = Unavailable)))]
pub(crate) async fn history(State(api): State<Arc<Api>>, params: Params) -> Result<Json<ConfigHistory>, ApiError> {
    let mut search = Search::default();
    search.equal.push(("table_name", config::TABLE.to_owned()));
    if let Some(key) = params.text("key", FILTER_CHARS_MAX)? {
        search.equal.push(("record_id", key));
    }
    let (changes, pagination) = find(&api, &search, &params).await?;
    let value = |values: Option<Value>| values.and_then(|values| values.get("value").cloned()).unwrap_or_default();
    let history = changes
        .into_iter()
        .map(|change| SettingChange {
            key: change.record_id,
            old_value: value(change.old_values),
            new_value: value(change.new_values),
            changed_at: change.changed_at,
            changed_by: change.changed_by,
            reason: change.reason,
        })
        .collect();
    Ok(Json(ConfigHistory { history, pagination }))
}

async fn find(api: &Api, search: &Search, params: &Params) -> Result<(Vec<ConfigChange>, Pagination), ApiError> {
    let page = Page::read(params, api.audit_page_size)?;
    let mut query = QueryBuilder::new(
        "SELECT id::bigint AS id, (extract(epoch FROM changed_at) * 1000000)::bigint AS changed_us, changed_by, \
         operation, table_name, record_id, old_values, new_values, reason, correlation_id FROM config_audit_log",
    );
    search.conditions(&mut query);
    if let Some(cursor) = page.cursor() {
        query.push(" AND (changed_at, id) < (");
        push_instant(&mut query, cursor.time);
        query.push(", ").push_bind(cursor.id).push(")");
    }
    query.push(" ORDER BY changed_at DESC, id DESC LIMIT ").push_bind(page.limit + 1);
    query.push(" OFFSET ").push_bind(page.offset());
    let mut count = QueryBuilder::new("SELECT count(*) FROM config_audit_log");
    search.conditions(&mut count);
    let (rows, total) = api
        .timed("config_audit", async {
            let rows = query.build().persistent(false).fetch_all(api.read_pool()).await?;
            if page.cursor().is_some() {
                return Ok::<_, ApiError>((rows, None));
            }
            let counted = count.build_query_scalar().persistent(false).fetch_one(api.read_pool()).await?;
            Ok((rows, Some(Total::Exact(counted))))
        })
        .await?;
    let more = rows.len() as i64 > page.limit;
    let mut changes: Vec<(Cursor, ConfigChange)> =
        rows.iter().take(page.limit as usize).map(change).collect::<Result<_, _>>()?;
    let pagination = Pagination::new(&page, total, changes.last().map(|(cursor, _)| *cursor), more);
    Ok((changes.drain(..).map(|(_, change)| change).collect(), pagination))
}

fn change(row: &PgRow) -> Result<(Cursor, ConfigChange), ApiError> {
    let changed_us: Micros = row.try_get("changed_us")?;
    let id = row.try_get("id")?;
    let change = ConfigChange {
        id,
        changed_at: iso(changed_us),
        changed_by: row.try_get("changed_by")?,
        operation: row.try_get("operation")?,
        table_name: row.try_get("table_name")?,
        record_id: row.try_get("record_id")?,
        old_values: row.try_get("old_values")?,
        new_values: row.try_get("new_values")?,
        reason: row.try_get("reason")?,
        correlation_id: row.try_get("correlation_id")?,
    };
    Ok((Cursor { time: changed_us, id }, change))
}
