//! `dev-hosts`: the hosts whose events take the development handling.

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
use super::input::{Body, HOSTNAME_BYTES_MAX, OptionalBody, Params, PathParams, hostname};
use super::openapi::{BadRequest, Conflict, MediaType, NotFound, TooLarge, Unauthorized, Unavailable};
use crate::rules::change::{Target, record};

/// Name of the table in the configuration audit.
pub(crate) const TABLE: &str = "development_hosts";

/// A development host.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DevHost {
    /// Exact name.
    hostname: String,
}

/// All development hosts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DevHosts {
    hosts: Vec<DevHost>,
}

/// A host to add.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct DevHostBody {
    /// Exact name.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    hostname: String,
    /// Why, for the configuration audit.
    reason: Option<String>,
}

/// A change of a host was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HostChanged {
    /// The host.
    pub(crate) hostname: String,
    /// What was done.
    pub(crate) message: String,
}

/// All development hosts.
#[utoipa::path(get, path = "/dev-hosts", tag = "hosts", responses(
    (status = 200, body = DevHosts), (status = 401, response = Unauthorized),
    (status = 503, response = Unavailable)))]
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Result<Json<DevHosts>, ApiError> {
    if let Some(set) = elsewhere::rule_set(&api).await? {
        let hosts = set.development_hosts().iter().map(|host| DevHost { hostname: host.clone() }).collect();
        return Ok(Json(DevHosts { hosts }));
    }
    let names: Vec<String> =
        sqlx::query_scalar("SELECT hostname FROM development_hosts ORDER BY hostname").fetch_all(api.pool()).await?;
    Ok(Json(DevHosts { hosts: names.into_iter().map(|hostname| DevHost { hostname }).collect() }))
}

/// Adds a development host. It counts within two seconds.
#[utoipa::path(post, path = "/dev-hosts", tag = "hosts", request_body = DevHostBody, responses(
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
    let author = caller.author(fields.reason()?);
    let mut transaction = api.pool().begin().await?;
    let added = sqlx::query("INSERT INTO development_hosts (hostname) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(&name)
        .execute(&mut *transaction)
        .await?;
    if added.rows_affected() == 0 {
        return Err(ApiError::Conflict(format!("'{name}' is a development host already")));
    }
    let target = Target { table: TABLE, record: &name };
    record(&mut transaction, &author, target, None, Some(json!({ "hostname": name }))).await?;
    transaction.commit().await?;
    api.announce_rules().await;
    let message = "Development host added successfully".to_owned();
    Ok((StatusCode::CREATED, Json(HostChanged { hostname: name, message })))
}

/// Takes a host out of the development hosts.
#[utoipa::path(delete, path = "/dev-hosts/{hostname}", tag = "hosts",
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
    let removed =
        sqlx::query("DELETE FROM development_hosts WHERE hostname = $1").bind(&name).execute(&mut *transaction).await?;
    if removed.rows_affected() == 0 {
        return Err(ApiError::NotFound(format!("'{name}' is no development host")));
    }
    let target = Target { table: TABLE, record: &name };
    record(&mut transaction, &author, target, Some(json!({ "hostname": name })), None).await?;
    transaction.commit().await?;
    api.announce_rules().await;
    let message = "Development host removed successfully".to_owned();
    Ok(Json(HostChanged { hostname: name, message }))
}
