//! Who sends a request: checked once, before any handler runs.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use mutt_secrets::{Pair, SecretName, Secrets};
use uuid::Uuid;

use super::error::ApiError;
use super::input::line;
use crate::rules::change::Author;

/// Header with the key.
const KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Header in which a client names the person it acts for; trusted, since the client holds the key.
const USER: HeaderName = HeaderName::from_static("x-user");
/// Header with the sender's own id of the request, and of each answer.
pub(crate) const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
/// Longest user name in characters.
const USER_CHARS_MAX: usize = 100;

/// The sender of a request with a good key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// Value of `X-User`, else the name of the key.
    changed_by: String,
    correlation_id: String,
}

impl Caller {
    /// Checks key and user name.
    pub(crate) fn admit(headers: &HeaderMap, secrets: &Secrets, correlation_id: &str) -> Result<Self, ApiError> {
        let key = headers.get(KEY).ok_or(ApiError::Unauthorized)?.as_bytes();
        if !secrets.accepts(Pair::WebUi, key) {
            return Err(ApiError::Unauthorized);
        }
        let changed_by = match headers.get(USER) {
            None => key_name(secrets, key).to_owned(),
            Some(value) => {
                let text =
                    std::str::from_utf8(value.as_bytes()).map_err(|_| ApiError::field("X-User", "must be UTF-8"))?;
                line("X-User", text.to_owned(), USER_CHARS_MAX)?
            }
        };
        Ok(Self { changed_by, correlation_id: correlation_id.to_owned() })
    }

    /// The author of a change by this caller.
    pub(crate) fn author(&self, reason: Option<String>) -> Author {
        Author { changed_by: self.changed_by.clone(), reason, correlation_id: Some(self.correlation_id.clone()) }
    }
}

/// Which of the two good keys it is. Compared after [`Secrets::accepts`] said yes, so time tells nothing new.
fn key_name(secrets: &Secrets, key: &[u8]) -> &'static str {
    let next = secrets.get(SecretName::WebUiApiKeyNext);
    if next.is_some_and(|next| next.expose().as_bytes() == key) { "WEBUI_API_KEY_NEXT" } else { "WEBUI_API_KEY" }
}

/// The sender's correlation id, or a new one.
pub(crate) fn correlation_id(headers: &HeaderMap) -> String {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    headers
        .get(CORRELATION)
        .and_then(|value| value.to_str().ok())
        .filter(|text| (1..=128).contains(&text.len()) && text.bytes().all(allowed))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
