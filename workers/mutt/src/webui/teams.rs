//! `teams`: which team owns a host, for meta-alerts about its unhandled messages.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::Api;
use super::caller::Caller;
use super::elsewhere;
use super::error::ApiError;
use super::hosts::HostChanged;
use super::input::{Body, Fields, HOSTNAME_BYTES_MAX, OptionalBody, Params, PathParams, hostname};
use super::openapi::{BadRequest, Conflict, MediaType, NotFound, TooLarge, Unauthorized, Unavailable};
use crate::rules::change::{Target, record};

/// Name of the table in the configuration audit.
pub(crate) const TABLE: &str = "device_teams";
/// Limit of the column `varchar(100)`.
const TEAM_CHARS_MAX: usize = 100;

/// A host and its team.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub(crate) struct DeviceTeam {
    /// Exact name.
    hostname: String,
    /// The team.
    team_assignment: String,
}

/// All hosts with a team.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeviceTeams {
    teams: Vec<DeviceTeam>,
}

/// A host and its team to add.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct DeviceTeamBody {
    /// Exact name.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    hostname: String,
    /// The team.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    team_assignment: String,
    /// Why, for the configuration audit.
    reason: Option<String>,
}

/// A host's new team.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct TeamBody {
    /// The team.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    team_assignment: String,
    /// Why, for the configuration audit.
    reason: Option<String>,
}

/// All hosts with a team.
#[utoipa::path(get, path = "/teams", tag = "teams", responses(
    (status = 200, body = DeviceTeams), (status = 401, response = Unauthorized),
    (status = 503, response = Unavailable)))]
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Result<Json<DeviceTeams>, ApiError> {
    if let Some(set) = elsewhere::rule_set(&api).await? {
        let team =
            |(host, team): (&String, &String)| DeviceTeam { hostname: host.clone(), team_assignment: team.clone() };
        return Ok(Json(DeviceTeams { teams: set.teams().iter().map(team).collect() }));
    }
    let teams = sqlx::query_as("SELECT hostname, team_assignment FROM device_teams ORDER BY hostname")
        .fetch_all(api.pool())
        .await?;
    Ok(Json(DeviceTeams { teams }))
}

/// Gives a host a team.
#[utoipa::path(post, path = "/teams", tag = "teams", request_body = DeviceTeamBody, responses(
    (status = 201, body = HostChanged), (status = 400, response = BadRequest),
    (status = 401, response = Unauthorized),
    (status = 409, response = Conflict),
    (status = 413, response = TooLarge),
    (status = 415, response = MediaType),
    (status = 503, response = Unavailable)))]
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(mut fields): Body,
) -> Result<(StatusCode, Json<HostChanged>), ApiError> {
    api.rules_are_here()?;
    let name = fields
        .text("hostname", HOSTNAME_BYTES_MAX)?
        .flatten()
        .ok_or_else(|| ApiError::field("hostname", "is required"))?;
    let name = hostname("hostname", name)?;
    let team = team(&mut fields)?;
    let author = caller.author(fields.reason()?);
    let mut transaction = api.pool().begin().await?;
    let added =
        sqlx::query("INSERT INTO device_teams (hostname, team_assignment) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(&name)
            .bind(&team)
            .execute(&mut *transaction)
            .await?;
    if added.rows_affected() == 0 {
        return Err(ApiError::Conflict(format!("'{name}' has a team already; change it with PUT")));
    }
    let new = json!({ "hostname": name, "team_assignment": team });
    record(&mut transaction, &author, Target { table: TABLE, record: &name }, None, Some(new)).await?;
    transaction.commit().await?;
    api.announce_rules().await;
    let message = "Team assignment created successfully".to_owned();
    Ok((StatusCode::CREATED, Json(HostChanged { hostname: name, message })))
}

/// Gives a host another team.
#[utoipa::path(put, path = "/teams/{hostname}", tag = "teams", request_body = TeamBody,
    params(("hostname" = String, Path, min_length = 1, max_length = 255, description = "Exact name")), responses(
    (status = 200, body = HostChanged), (status = 400, response = BadRequest),
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
    Body(mut fields): Body,
) -> Result<Json<HostChanged>, ApiError> {
    api.rules_are_here()?;
    let name = path.hostname()?;
    let team = team(&mut fields)?;
    let author = caller.author(fields.reason()?);
    let mut transaction = api.pool().begin().await?;
    let old: Option<String> =
        sqlx::query_scalar("SELECT team_assignment FROM device_teams WHERE hostname = $1 FOR UPDATE")
            .bind(&name)
            .fetch_optional(&mut *transaction)
            .await?;
    let old = old.ok_or_else(|| no_team(&name))?;
    if old != team {
        sqlx::query("UPDATE device_teams SET team_assignment = $2 WHERE hostname = $1")
            .bind(&name)
            .bind(&team)
            .execute(&mut *transaction)
            .await?;
        let old = json!({ "hostname": name, "team_assignment": old });
        let new = json!({ "hostname": name, "team_assignment": team });
        record(&mut transaction, &author, Target { table: TABLE, record: &name }, Some(old), Some(new)).await?;
    }
    transaction.commit().await?;
    api.announce_rules().await;
    let message = "Team assignment updated successfully".to_owned();
    Ok(Json(HostChanged { hostname: name, message }))
}

/// Takes a host's team away; its meta-alerts go to the default team.
#[utoipa::path(delete, path = "/teams/{hostname}", tag = "teams",
    params(("hostname" = String, Path, min_length = 1, max_length = 255, description = "Exact name"),
           ("reason" = Option<String>, Query, description = "Why, for the configuration audit")), responses(
    (status = 200, body = HostChanged), (status = 400, response = BadRequest),
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
) -> Result<Json<HostChanged>, ApiError> {
    api.rules_are_here()?;
    let name = path.hostname()?;
    let author = caller.author(fields.reason()?.or(params.reason()?));
    let mut transaction = api.pool().begin().await?;
    let old: Option<String> =
        sqlx::query_scalar("DELETE FROM device_teams WHERE hostname = $1 RETURNING team_assignment::text")
            .bind(&name)
            .fetch_optional(&mut *transaction)
            .await?;
    let old = old.ok_or_else(|| no_team(&name))?;
    let old = json!({ "hostname": name, "team_assignment": old });
    record(&mut transaction, &author, Target { table: TABLE, record: &name }, Some(old), None).await?;
    transaction.commit().await?;
    api.announce_rules().await;
    let message = "Team assignment deleted successfully".to_owned();
    Ok(Json(HostChanged { hostname: name, message }))
}

fn no_team(name: &str) -> ApiError {
    ApiError::NotFound(format!("'{name}' has no team"))
}

fn team(fields: &mut Fields) -> Result<String, ApiError> {
    fields
        .text("team_assignment", TEAM_CHARS_MAX)?
        .flatten()
        .ok_or_else(|| ApiError::field("team_assignment", "is required"))
}
