//! The API's description, made from the handlers and committed as `workers/mutt/openapi.json`.

use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::{Modify, OpenApi, ToResponse, ToSchema};

use super::error::ApiError;
use super::{about, audit_logs, config, config_audit, hosts, rules, slo, summary, teams};

/// What every refusal says.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct Refusal {
    /// What is wrong, with the field's name before a colon if it is one field.
    error: String,
    /// The field that is wrong, if it is one.
    #[schema(nullable = false)]
    field: Option<String>,
}

/// Something in the request is wrong; the text names the field.
#[derive(ToResponse)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct BadRequest(Refusal);

/// No key in X-API-KEY, or a wrong one.
#[derive(ToResponse)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct Unauthorized(Refusal);

/// There is no such thing.
#[derive(ToResponse)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct NotFound(Refusal);

/// It is there already, or the record lies elsewhere (RULES_SOURCE).
#[derive(ToResponse)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct Conflict(Refusal);

/// The body is larger than 1 MiB.
#[derive(ToResponse)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct TooLarge(Refusal);

/// The body is not declared as application/json.
#[derive(ToResponse)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct MediaType(Refusal);

/// Redis or PostgreSQL does not answer (with Retry-After), or a search took too long.
#[derive(ToResponse)]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) struct Unavailable(Refusal);

/// The operations below `/api/v1` and `/api/v2`.
#[derive(OpenApi)]
#[openapi(
    paths(
        about::version,
        summary::show,
        slo::show,
        rules::list,
        rules::create,
        rules::show,
        rules::update,
        rules::remove,
        audit_logs::list,
        config_audit::list,
        hosts::list,
        hosts::create,
        hosts::remove,
        teams::list,
        teams::create,
        teams::update,
        teams::remove,
        config::show,
        config::update,
        config_audit::history,
    ),
    components(
        schemas(Refusal),
        responses(BadRequest, Unauthorized, NotFound, Conflict, TooLarge, MediaType, Unavailable)
    )
)]
struct Operations;

/// The whole document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "MUTT Web UI API",
        description = "Rules, audit trail, hosts, teams and settings of MUTT. Every path below /api/v2 exists below \
            /api/v1, too. The key goes into the header X-API-KEY; a client may name the person it acts for in X-User, \
            which the configuration audit then keeps instead of the key's name. Errors are {\"error\": …}. Times are \
            ISO 8601 UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    nest((path = "/api/v2", api = Operations)),
    modifiers(&Key),
    security(("key" = [])),
    tags(
        (name = "rules", description = "Alert rules"),
        (name = "audit", description = "Audited events and changes of the configuration"),
        (name = "hosts", description = "Development hosts"),
        (name = "teams", description = "Teams of hosts"),
        (name = "config", description = "Settings that change at run time"),
        (name = "metrics", description = "Rates of accepted events, and the service level objectives"),
        (name = "about", description = "This service")
    )
)]
struct Document;

struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let header = ApiKey::Header(ApiKeyValue::with_description("X-API-KEY", "WEBUI_API_KEY or WEBUI_API_KEY_NEXT"));
        document.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::ApiKey(header));
    }
}

/// The document as it is committed and served.
pub(crate) fn document() -> Result<String, serde_json::Error> {
    Document::openapi().to_pretty_json().map(|text| text + "\n")
}

/// `GET /api/openapi.json`.
pub(crate) async fn serve() -> Result<impl IntoResponse, ApiError> {
    let document = document().map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The committed document is the one that the handlers describe. `UPDATE_GOLDEN=1` writes it anew.
    #[test]
    fn golden_the_committed_document_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let made = document().unwrap();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == made, "openapi.json is outdated: run `make golden`");
    }
}
