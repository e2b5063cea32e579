//! What this service is: `/` and `version`. Neither needs a key.

use axum::Json;
use axum::response::Html;
use serde::Serialize;
use utoipa::ToSchema;

use crate::telemetry::VERSION;

/// Versions of the API, the newest first.
const API_VERSIONS: [&str; 3] = ["v2.5", "v2.0", "v1.0"];

/// Versions of the service and of its API.
#[derive(Debug, Serialize, ToSchema)]
#[allow(clippy::struct_field_names, reason = "the names are those of the answer")]
pub(crate) struct Version {
    /// Version of MUTT.
    version: &'static str,
    /// `mutt-webui`.
    service: &'static str,
    /// Newest version of the API.
    api_version: &'static str,
    /// All versions of the API.
    supported_versions: [&'static str; 3],
}

/// Versions of the service and of its API. Needs no key.
#[utoipa::path(get, path = "/version", tag = "about", security(()), responses((status = 200, body = Version)))]
pub(crate) async fn version() -> Json<Version> {
    Json(Version {
        version: VERSION,
        service: "mutt-webui",
        api_version: API_VERSIONS[0],
        supported_versions: API_VERSIONS,
    })
}

/// `GET /`.
pub(crate) async fn index() -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>MUTT</title><h1>MUTT {VERSION}</h1>\
         <p>This is the API of MUTT's Web UI; there are no pages yet.</p><ul>\
         <li><a href=\"/api/openapi.json\">/api/openapi.json</a>: what the API can do (OpenAPI)</li>\
         <li>/api/v2/… (and /api/v1/…): rules, audit-logs, config-audit, dev-hosts, teams, config, metrics; \
         the key goes into the header X-API-KEY</li>\
         <li><a href=\"/api/v2/version\">/api/v2/version</a>, <a href=\"/health\">/health</a>, \
         <a href=\"/ready\">/ready</a>, <a href=\"/live\">/live</a>, <a href=\"/metrics\">/metrics</a>: \
         without a key</li></ul></html>\n"
    ))
}
