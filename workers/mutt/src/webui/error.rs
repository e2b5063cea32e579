//! What the API answers when it cannot do what was asked: one enum, one table of statuses.
//!
//! An error names the field that was wrong and what would be right. It never carries the text of an SQL
//! statement or of a PostgreSQL message: those go to the log only.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Seconds after which a client may try again when Redis or PostgreSQL is away.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// One field of the body, the path or the query string is wrong.
    #[error("{field}: {message}")]
    Field {
        /// The field's name as the client wrote it.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// The request as a whole is wrong (not JSON, not an object).
    #[error("{0}")]
    BadRequest(String),
    /// No key or a wrong one.
    #[error("Unauthorized")]
    Unauthorized,
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// The path exists, but not with this method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The change contradicts what is there, or the record lies elsewhere.
    #[error("{0}")]
    Conflict(String),
    /// The body is larger than the limit in bytes.
    #[error("body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body is not declared as JSON.
    #[error("content type must be application/json")]
    MediaType,
    /// A server this process depends on does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// A search ran into its time limit.
    #[error("the search took longer than {0} seconds: narrow it with start_date and end_date or hostname")]
    SearchTimeout(u64),
    /// A defect of this program or of the database's schema. The text stays in the log.
    #[error("internal error")]
    Internal(String),
}

impl ApiError {
    /// An error about one field.
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Field { field: field.into(), message: message.into() }
    }

    /// The HTTP status of this error.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Field { .. } | Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable(_) | Self::SearchTimeout(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Internal(detail) = &self {
            tracing::error!(detail, "request failed");
        }
        let mut body = json!({ "error": self.to_string() });
        if let Self::Field { field, .. } = &self {
            body["field"] = json!(field);
        }
        let mut response = (self.status(), Json(body)).into_response();
        if matches!(self, Self::Unavailable(_)) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default().into_owned();
                tracing::warn!(code, error = %database.message(), "PostgreSQL refused");
                from_sqlstate(&code)
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => {
                tracing::warn!(%error, "PostgreSQL is not reachable");
                Self::Unavailable("PostgreSQL is not reachable".into())
            }
            _ => Self::Internal(error.to_string()),
        }
    }
}

/// The answer to an SQLSTATE (PostgreSQL documentation, appendix A).
fn from_sqlstate(code: &str) -> ApiError {
    let class = code.get(..2).unwrap_or_default();
    match (code, class) {
        ("57014", _) => ApiError::Unavailable("the statement took too long".into()),
        ("23505", _) => ApiError::Conflict("it is there already".into()),
        ("42P01" | "42703" | "42883", _) => {
            ApiError::Unavailable("the database's schema is missing or too old: run `mutt db migrate`".into())
        }
        (_, "22" | "23") => ApiError::BadRequest("the database does not accept this value".into()),
        (_, "08" | "25" | "40" | "53" | "55" | "57" | "58") => {
            ApiError::Unavailable("PostgreSQL cannot do this now".into())
        }
        (_, "28") => ApiError::Unavailable("PostgreSQL refuses the login".into()),
        _ => ApiError::Internal(format!("SQLSTATE {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlstates_become_statuses_without_sql_text() {
        for (code, status) in [
            ("23505", StatusCode::CONFLICT),
            ("22021", StatusCode::BAD_REQUEST),
            ("23514", StatusCode::BAD_REQUEST),
            ("57P01", StatusCode::SERVICE_UNAVAILABLE),
            ("53300", StatusCode::SERVICE_UNAVAILABLE),
            ("42P01", StatusCode::SERVICE_UNAVAILABLE),
            ("28P01", StatusCode::SERVICE_UNAVAILABLE),
            ("XX000", StatusCode::INTERNAL_SERVER_ERROR),
            ("", StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            assert_eq!(from_sqlstate(code).status(), status, "{code}");
        }
        let internal = ApiError::Internal("SELECT secret FROM t".into());
        assert_eq!(internal.to_string(), "internal error");
    }
}
