//! The map of the API, and the gate that every request passes: key, correlation id, metrics.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use prometheus::Registry;

use super::caller::{CORRELATION, Caller, correlation_id};
use super::error::ApiError;
use super::{Api, about, audit_logs, config, config_audit, hosts, openapi, rules, slo, summary, teams};
use crate::server::metrics_router;

/// What needs no key.
const PUBLIC: [&str; 8] =
    ["/", "/live", "/ready", "/health", "/metrics", "/api/openapi.json", "/api/v1/version", "/api/v2/version"];

/// Everything that is served on 8090.
pub(crate) fn router(api: Arc<Api>, registry: &Registry) -> Router {
    let health = api.health.clone();
    let answer = |read: fn(&crate::server::Health) -> (axum::http::StatusCode, serde_json::Value)| {
        let health = health.clone();
        get(move || async move {
            let (status, body) = read(&health);
            (status, axum::Json(body))
        })
    };
    let own = Router::new()
        .route("/", get(about::index))
        .route("/live", answer(crate::server::Health::live))
        .route("/ready", answer(crate::server::Health::ready))
        .route("/health", answer(crate::server::Health::health))
        .route("/api/openapi.json", get(openapi::serve))
        .nest("/api/v1", resources())
        .nest("/api/v2", resources())
        .with_state(api.clone());
    own.merge(metrics_router(registry))
        .fallback(async || ApiError::NotFound("no such path; /api/openapi.json lists them".into()))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(api, gate))
}

/// The resources, the same for each version of the API.
fn resources() -> Router<Arc<Api>> {
    Router::new()
        .route("/version", get(about::version))
        .route("/metrics", get(summary::show))
        .route("/slo", get(slo::show))
        .route("/rules", get(rules::list).post(rules::create))
        .route("/rules/{id}", get(rules::show).put(rules::update).delete(rules::remove))
        .route("/audit-logs", get(audit_logs::list))
        .route("/audit", get(config_audit::list))
        .route("/config-audit", get(config_audit::list))
        .route("/dev-hosts", get(hosts::list).post(hosts::create))
        .route("/dev-hosts/{hostname}", delete(hosts::remove))
        .route("/teams", get(teams::list).post(teams::create))
        .route("/teams/{hostname}", put(teams::update).delete(teams::remove))
        .route("/config", get(config::show))
        .route("/config/history", get(config_audit::history))
        .route("/config/{key}", put(config::update))
}

/// What every request passes. The key is checked before the path, so that strangers learn nothing of it.
async fn gate(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let endpoint = endpoint(&request);
    let correlation_id = correlation_id(request.headers());
    let admitted = if PUBLIC.contains(&request.uri().path()) {
        Ok(Caller::default())
    } else {
        Caller::admit(request.headers(), &api.secrets, &correlation_id)
    };
    let mut response = match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&correlation_id) {
        headers.insert(CORRELATION, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    api.metrics.answered(&endpoint, response.status().as_u16(), started);
    response
}

/// The route that takes the request: one of a few, whatever clients send. Resources stand without the API's version:
/// `rules/{id}`, beside `/health`.
fn endpoint(request: &Request) -> String {
    let Some(path) = request.extensions().get::<MatchedPath>() else {
        return "unknown".to_owned();
    };
    let path = path.as_str();
    path.strip_prefix("/api/v1/").or_else(|| path.strip_prefix("/api/v2/")).unwrap_or(path).to_owned()
}
