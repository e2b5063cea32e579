//! `rules`: the alert rules in PostgreSQL. Each change is announced to the alerters before it is answered.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mutt_rules::{Mode, RuleTest};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::ApiError;
use super::input::{Body, OptionalBody, Params, PathParams};
use super::openapi::{BadRequest, Conflict, MediaType, NotFound, TooLarge, Unauthorized, Unavailable};
use super::rule_view::{MatchTypeWord, RuleList, RuleView, unreadable, view};
use super::{Api, elsewhere, rule_input};
use crate::rules::row::{RowError, RuleColumns};
use crate::rules::table;

/// What a rule is made of. In a PUT absent fields stay as they are.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct RuleBody {
    /// Unique name: an object name of Kubernetes, with `namespace/` before it if wanted.
    #[schema(
        min_length = 1,
        max_length = 253,
        pattern = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
    )]
    name: Option<String>,
    /// Text or regular expression that is looked for in the message, case ignored. This or `trap_oid` is required.
    #[schema(max_length = 4096)]
    match_string: Option<String>,
    /// Prefix of the trap's OID, by whole arcs.
    #[schema(max_length = 255)]
    trap_oid: Option<String>,
    /// Syslog severity.
    #[schema(minimum = 0, maximum = 7)]
    syslog_severity: Option<i32>,
    /// How `match_string` is compared; `contains` if absent.
    match_type: Option<MatchTypeWord>,
    /// The lower is tried first; 100 if absent.
    priority: Option<i32>,
    /// Handling on production hosts: Page_and_ticket, Page_only and Ticket_only forward, any other word only audits.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    prod_handling: String,
    /// Handling on development hosts.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    dev_handling: String,
    /// Team of the alert.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    team_assignment: String,
    /// Whether the rule takes part; true if absent.
    is_active: Option<bool>,
    /// What the rule is for.
    #[schema(max_length = 1024)]
    description: Option<String>,
    /// Host names, globs or CIDRs the rule is limited to.
    hosts: Option<Vec<String>>,
    /// This syslog severity or a more urgent one; not together with `syslog_severity`.
    #[schema(rename = "atMost", minimum = 0, maximum = 7)]
    at_most: Option<i32>,
    /// Severity of the alert: Critical, Major, Warning (default), Minor, Info or Clear.
    severity: Option<String>,
    /// Active (default) or Shadow.
    mode: Option<String>,
    /// Sample events with the expected result; a rule that fails one of its own tests is refused.
    #[schema(value_type = Option<Vec<Object>>)]
    tests: Option<Vec<RuleTest>>,
    /// Why the rule is changed, for the configuration audit.
    #[schema(max_length = 2000)]
    reason: Option<String>,
}

/// A change of a rule was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleChanged {
    /// Number of the rule.
    id: i32,
    /// What was done.
    message: String,
    /// Remarks on the request: unknown fields, fields without effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

impl From<RowError> for ApiError {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Column(error) => error.into(),
            RowError::Spec(_) | RowError::MatchType(_) => {
                Self::Conflict(format!("the row in PostgreSQL is no rule: {error}"))
            }
        }
    }
}

/// All rules in the order in which they are tried.
#[utoipa::path(get, path = "/rules", tag = "rules", responses(
    (status = 200, body = RuleList), (status = 401, response = Unauthorized),
    (status = 503, response = Unavailable)))]
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Result<Json<RuleList>, ApiError> {
    if let Some(set) = elsewhere::rule_set(&api).await? {
        return Ok(Json(RuleList { rules: elsewhere::rows(&set).map(|rule| view(None, rule)).collect() }));
    }
    let rows = api.timed("rules_list", async { Ok::<_, ApiError>(table::all(api.pool()).await?) }).await?;
    let rules = rows
        .into_iter()
        .map(|(id, row)| match row {
            Ok(rule) => view(Some(id), rule),
            Err(error) => unreadable(id, &error),
        })
        .collect();
    Ok(Json(RuleList { rules }))
}

/// One rule.
#[utoipa::path(get, path = "/rules/{id}", tag = "rules",
    params(("id" = i32, Path, minimum = 1, description = "Number of the rule")), responses(
    (status = 200, body = RuleView), (status = 400, response = BadRequest),
    (status = 401, response = Unauthorized),
    (status = 404, response = NotFound),
    (status = 503, response = Unavailable)))]
pub(crate) async fn show(State(api): State<Arc<Api>>, path: PathParams) -> Result<Json<RuleView>, ApiError> {
    let id = path.id()?;
    match table::one(api.pool(), id, false).await {
        Ok(Some(rule)) => Ok(Json(view(Some(id), rule))),
        Ok(None) => Err(not_found(id)),
        Err(RowError::Column(error)) => Err(error.into()),
        Err(error) => Ok(Json(unreadable(id, &error))),
    }
}

/// Makes a rule. It is in use within two seconds.
#[utoipa::path(post, path = "/rules", tag = "rules", request_body = RuleBody, responses(
    (status = 201, body = RuleChanged), (status = 400, response = BadRequest),
    (status = 401, response = Unauthorized),
    (status = 409, response = Conflict),
    (status = 413, response = TooLarge),
    (status = 415, response = MediaType),
    (status = 503, response = Unavailable)))]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(fields): Body,
) -> Result<(StatusCode, Json<RuleChanged>), ApiError> {
    api.rules_are_here()?;
    let input = rule_input::create(fields)?;
    let author = caller.author(input.reason);
    let id = api
        .timed("rules_create", async {
            let mut transaction = api.pool().begin().await?;
            refuse_conflict(&mut transaction, None, &input.rule).await?;
            let id = table::insert(&mut transaction, &author, &input.rule).await?;
            transaction.commit().await?;
            Ok::<_, ApiError>(id)
        })
        .await?;
    api.announce_rules().await;
    let message = "Rule created successfully".to_owned();
    Ok((StatusCode::CREATED, Json(RuleChanged { id, message, warnings: input.warnings })))
}

/// Changes a rule: fields that are absent stay as they are.
#[utoipa::path(put, path = "/rules/{id}", tag = "rules", request_body = RuleBody,
    params(("id" = i32, Path, minimum = 1, description = "Number of the rule")), responses(
    (status = 200, body = RuleChanged), (status = 400, response = BadRequest),
    (status = 401, response = Unauthorized),
    (status = 404, response = NotFound),
    (status = 409, response = Conflict),
    (status = 413, response = TooLarge),
    (status = 415, response = MediaType),
    (status = 503, response = Unavailable)))]
pub(crate) async fn update(
    State(api): State<Arc<Api>>,
    path: PathParams,
    caller: Caller,
    Body(fields): Body,
) -> Result<Json<RuleChanged>, ApiError> {
    api.rules_are_here()?;
    let id = path.id()?;
    let warnings = api
        .timed("rules_update", async {
            let mut transaction = api.pool().begin().await?;
            let old = table::one(&mut *transaction, id, true).await?.ok_or_else(|| not_found(id))?;
            let input = rule_input::update(fields, &old)?;
            if input.rule != old {
                refuse_conflict(&mut transaction, Some(id), &input.rule).await?;
                let author = caller.author(input.reason);
                let before = old.audit_value().map_err(RowError::from)?;
                table::update(&mut transaction, &author, id, before, &input.rule).await?;
            }
            transaction.commit().await?;
            Ok::<_, ApiError>(input.warnings)
        })
        .await?;
    api.announce_rules().await;
    let message = "Rule updated successfully".to_owned();
    Ok(Json(RuleChanged { id, message, warnings }))
}

/// Removes a rule. Audit rows of its events stay.
#[utoipa::path(delete, path = "/rules/{id}", tag = "rules",
    params(("id" = i32, Path, minimum = 1, description = "Number of the rule"),
           ("reason" = Option<String>, Query, description = "Why, for the configuration audit")), responses(
    (status = 200, body = RuleChanged), (status = 400, response = BadRequest),
    (status = 401, response = Unauthorized),
    (status = 404, response = NotFound),
    (status = 409, response = Conflict),
    (status = 503, response = Unavailable)))]
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    path: PathParams,
    params: Params,
    caller: Caller,
    OptionalBody(mut fields): OptionalBody,
) -> Result<Json<RuleChanged>, ApiError> {
    api.rules_are_here()?;
    let id = path.id()?;
    let reason = fields.reason()?.or(params.reason()?);
    let author = caller.author(reason);
    api.timed("rules_delete", async {
        let mut transaction = api.pool().begin().await?;
        if !table::delete(&mut transaction, &author, id).await? {
            return Err(not_found(id));
        }
        transaction.commit().await?;
        Ok(())
    })
    .await?;
    api.announce_rules().await;
    let message = "Rule deleted successfully".to_owned();
    Ok(Json(RuleChanged { id, message, warnings: Vec::new() }))
}

fn not_found(id: i32) -> ApiError {
    ApiError::NotFound(format!("there is no rule {id}"))
}

/// Refuses a name that another rule has, and an active rule that could never take an event because an active one
/// with the same criteria and priority stands before it. Other writers wait until the transaction ends.
async fn refuse_conflict(connection: &mut PgConnection, id: Option<i32>, rule: &RuleColumns) -> Result<(), ApiError> {
    sqlx::query("LOCK TABLE alert_rules IN SHARE ROW EXCLUSIVE MODE").execute(&mut *connection).await?;
    let holder: Option<i32> =
        sqlx::query_scalar("SELECT id FROM alert_rules WHERE name = $1 AND id IS DISTINCT FROM $2")
            .bind(&rule.name)
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
    if let (Some(holder), Some(name)) = (holder, &rule.name) {
        return Err(ApiError::Conflict(format!("name: rule {holder} is called '{name}' already")));
    }
    if !rule.is_active || rule.extras.mode == Mode::Shadow {
        return Ok(());
    }
    let twin: Option<i32> = sqlx::query_scalar(
        "SELECT id FROM alert_rules WHERE is_active AND match_string IS NOT DISTINCT FROM $1 \
         AND trap_oid IS NOT DISTINCT FROM $2 AND syslog_severity IS NOT DISTINCT FROM $3 AND match_type = $4 \
         AND priority = $5 AND id IS DISTINCT FROM $6 AND coalesce(spec->'hosts', '[]') = $7 \
         AND spec->'atMost' IS NOT DISTINCT FROM $8 AND coalesce(spec->>'mode', 'Active') = 'Active' LIMIT 1",
    )
    .bind(&rule.match_string)
    .bind(&rule.trap_oid)
    .bind(rule.syslog_severity)
    .bind(rule.match_type.word())
    .bind(rule.priority)
    .bind(id)
    .bind(json!(rule.extras.hosts))
    .bind(rule.extras.at_most.map(Value::from))
    .fetch_optional(&mut *connection)
    .await?;
    match twin {
        None => Ok(()),
        Some(twin) => Err(ApiError::Conflict(format!(
            "rule {twin} has the same criteria and priority, so that only one of the two could ever match"
        ))),
    }
}
