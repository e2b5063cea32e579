//! Input of the API: JSON bodies, query strings and path parameters, taken apart so that every error names its field.

#![allow(clippy::option_option, reason = "absent, null and given are three different wishes of a client")]

use std::ops::RangeInclusive;

use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::header;
use axum::http::request::Parts;
use http_body_util::BodyExt;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use serde_json::{Map, Value};

use super::error::ApiError;

/// Largest body in bytes: a rule with its tests is a few KiB.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest host name, as in the ingest API.
pub(crate) const HOSTNAME_BYTES_MAX: usize = 255;
/// Longest `reason` in characters.
const REASON_CHARS_MAX: usize = 2_000;

/// A JSON object sent as the body. Fields are taken out one by one; what is left is unknown.
pub(crate) struct Body(pub(crate) Fields);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_media_type(&request)?;
        let bytes = read_bounded(request).await?;
        parse_object(&bytes).map(Self)
    }
}

/// A JSON object sent as the body, or no body at all (DELETE).
pub(crate) struct OptionalBody(pub(crate) Fields);

impl<S: Send + Sync> FromRequest<S> for OptionalBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let declared = check_media_type(&request);
        let bytes = read_bounded(request).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(Fields(Map::new())));
        }
        declared?;
        parse_object(&bytes).map(Self)
    }
}

/// A missing content type counts as JSON; a form or a text does not.
fn check_media_type(request: &Request) -> Result<(), ApiError> {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let text = value.to_str().map_err(|_| ApiError::MediaType)?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(ApiError::MediaType) }
}

async fn read_bounded(request: Request) -> Result<bytes::Bytes, ApiError> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge(BODY_BYTES_MAX)),
        Err(_) => Err(ApiError::BadRequest("the body did not arrive".into())),
    }
}

fn parse_object(bytes: &[u8]) -> Result<Fields, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(Fields(map)),
        Ok(_) => Err(ApiError::BadRequest("body must be a JSON object".into())),
        Err(error) => Err(ApiError::BadRequest(format!("invalid JSON: {error}"))),
    }
}

/// The members of a JSON object, taken out by name.
#[derive(Debug, Default)]
pub(crate) struct Fields(pub(crate) Map<String, Value>);

impl Fields {
    /// Whether the client sent this field, `null` included.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes a field out; an absent one is `None`, a `null` is `Some(None)`.
    pub(crate) fn take(&mut self, name: &str) -> Option<Option<Value>> {
        self.0.remove(name).map(|value| match value {
            Value::Null => None,
            other => Some(other),
        })
    }

    /// A text of at most `chars_max` characters, not blank, without control characters.
    pub(crate) fn text(&mut self, name: &str, chars_max: usize) -> Result<Option<Option<String>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(None) => Ok(Some(None)),
            Some(Some(Value::String(text))) => Ok(Some(Some(line(name, text, chars_max)?))),
            Some(Some(_)) => Err(ApiError::field(name, "must be a text")),
        }
    }

    /// An integer within the range.
    pub(crate) fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<Option<Option<i64>>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let Some(value) = value else {
            return Ok(Some(None));
        };
        match value.as_i64() {
            Some(number) if range.contains(&number) => Ok(Some(Some(number))),
            _ => Err(ApiError::field(name, format!("must be an integer from {} to {}", range.start(), range.end()))),
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Some(Value::Bool(flag))) => Ok(Some(flag)),
            Some(_) => Err(ApiError::field(name, "must be true or false")),
        }
    }

    /// The `reason` of a change, for the configuration audit.
    pub(crate) fn reason(&mut self) -> Result<Option<String>, ApiError> {
        match self.take("reason") {
            None | Some(None) => Ok(None),
            Some(Some(Value::String(text))) => reason(text),
            Some(Some(_)) => Err(ApiError::field("reason", "must be a text")),
        }
    }
}

/// A reason may have several lines, but no NUL bytes (PostgreSQL cannot store them).
fn reason(text: String) -> Result<Option<String>, ApiError> {
    if text.contains('\0') {
        return Err(ApiError::field("reason", "must not contain a NUL byte"));
    }
    if text.chars().count() > REASON_CHARS_MAX {
        let message = format!("must have at most {REASON_CHARS_MAX} characters");
        return Err(ApiError::field("reason", message));
    }
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// Checks a text that is one line: not blank, bounded, no control characters.
pub(crate) fn line(name: &str, text: String, chars_max: usize) -> Result<String, ApiError> {
    if text.trim().is_empty() {
        return Err(ApiError::field(name, "must not be empty"));
    }
    if text.chars().count() > chars_max {
        return Err(ApiError::field(name, format!("must have at most {chars_max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::field(name, "must not contain control characters"));
    }
    Ok(text)
}

/// Checks a host name: what the ingest API accepts as one.
pub(crate) fn hostname(name: &str, text: String) -> Result<String, ApiError> {
    if text.len() > HOSTNAME_BYTES_MAX {
        return Err(ApiError::field(name, format!("must have at most {HOSTNAME_BYTES_MAX} bytes")));
    }
    line(name, text, HOSTNAME_BYTES_MAX)
}

/// The query string, each parameter by its name. An empty value counts as absent, as in a form left blank.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|_| ApiError::BadRequest("the query string cannot be read".into()))
    }
}

impl Params {
    /// The parameter's value; named twice is an error.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut found = self.0.iter().filter(|(key, _)| key == name);
        let first = found.next();
        if found.next().is_some() {
            return Err(ApiError::field(name, "must be given once"));
        }
        Ok(first.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty()))
    }

    /// A text without control characters.
    pub(crate) fn text(&self, name: &str, chars_max: usize) -> Result<Option<String>, ApiError> {
        self.get(name)?.map(|value| line(name, value.to_owned(), chars_max)).transpose()
    }

    /// An integer within the range.
    pub(crate) fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        self.get(name)?.map(|value| integer(name, value, range)).transpose()
    }

    /// The `reason` of a change whose request has no body.
    pub(crate) fn reason(&self) -> Result<Option<String>, ApiError> {
        match self.get("reason")? {
            Some(text) => reason(text.to_owned()),
            None => Ok(None),
        }
    }
}

fn integer(name: &str, text: &str, range: RangeInclusive<i64>) -> Result<i64, ApiError> {
    text.parse::<i64>()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| ApiError::field(name, format!("must be an integer from {} to {}", range.start(), range.end())))
}

/// The parameters of the path, percent-decoded.
pub(crate) struct PathParams(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for PathParams {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::BadRequest("the path is not valid UTF-8".into()))?;
        Ok(Self(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

impl PathParams {
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The id of a row: `serial` in PostgreSQL.
    pub(crate) fn id(&self) -> Result<i32, ApiError> {
        integer("id", self.get("id"), 1..=i64::from(i32::MAX)).map(|id| id as i32)
    }

    /// A host name.
    pub(crate) fn hostname(&self) -> Result<String, ApiError> {
        hostname("hostname", self.get("hostname").to_owned())
    }

    /// The key of a setting, as it stands in the path.
    pub(crate) fn key(&self) -> &str {
        self.get("key")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        match value {
            Value::Object(map) => Fields(map),
            _ => Fields::default(),
        }
    }

    fn params(query: &str) -> Params {
        let uri = format!("http://mutt/?{query}").parse().unwrap();
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
        Params(pairs)
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (value, message) in [
            (json!({"n": 3}), "n: must be a text"),
            (json!({"n": ["a"]}), "n: must be a text"),
            (json!({"n": ""}), "n: must not be empty"),
            (json!({"n": " \t"}), "n: must not be empty"),
            (json!({"n": "toolong"}), "n: must have at most 5 characters"),
            (json!({"n": "a\u{0}b"}), "n: must not contain control characters"),
            (json!({"n": "a\nb"}), "n: must not contain control characters"),
        ] {
            let error = fields(value.clone()).text("n", 5).unwrap_err();
            assert_eq!(error.to_string(), message, "{value}");
        }
    }

    #[test]
    fn texts_are_counted_in_characters_and_null_is_not_absent() {
        let mut body = fields(json!({"n": "äöüßé", "z": null}));
        assert_eq!(body.text("n", 5).unwrap(), Some(Some("äöüßé".into())));
        assert_eq!(body.text("z", 5).unwrap(), Some(None));
        assert_eq!(body.text("absent", 5).unwrap(), None);
    }

    #[test]
    fn integers_are_integers() {
        for value in [
            json!("3"),
            json!(3.5),
            json!(-1),
            json!(8),
            json!(true),
            json!(1e300),
            json!(18_446_744_073_709_551_615_u64),
            json!({}),
        ] {
            let error = fields(json!({"severity": value})).integer("severity", 0..=7).unwrap_err();
            assert_eq!(error.to_string(), "severity: must be an integer from 0 to 7");
        }
        assert_eq!(fields(json!({"s": 0})).integer("s", 0..=7).unwrap(), Some(Some(0)));
    }

    #[test]
    fn query_parameters_are_checked() {
        for query in [
            "page=0",
            "page=-1",
            "page=x",
            "page=1.5",
            "page=99999999999999999999",
            "page=1&page=2",
            "page=1%00",
            "page=1;DROP",
        ] {
            let error = params(query).integer("page", 1..=1000).unwrap_err();
            assert!(error.to_string().starts_with("page: "), "{query}: {error}");
        }
        assert_eq!(params("page=").integer("page", 1..=9).unwrap(), None);
        assert_eq!(params("page=7").integer("page", 1..=9).unwrap(), Some(7));
        assert!(params("h=%00").text("h", 9).is_err());
    }

    #[test]
    fn a_reason_is_bounded_and_optional() {
        assert_eq!(fields(json!({})).reason().unwrap(), None);
        assert_eq!(fields(json!({"reason": null})).reason().unwrap(), None);
        assert_eq!(fields(json!({"reason": "  "})).reason().unwrap(), None);
        let kept = fields(json!({"reason": "two\nlines"})).reason().unwrap();
        assert_eq!(kept.as_deref(), Some("two\nlines"));
        for bad in [json!(1), json!("a\u{0}"), json!("x".repeat(2_001))] {
            assert!(fields(json!({"reason": bad})).reason().is_err());
        }
    }

    #[test]
    fn only_objects_are_bodies() {
        for body in [&b"[]"[..], b"3", b"\"x\"", b"null", b"", b"{", b"{\"a\":\xff}"] {
            let error = parse_object(body).unwrap_err();
            assert_eq!(error.status(), 400, "{body:?}");
        }
    }
}
