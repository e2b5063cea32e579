//! The JSON answers of CONTRACT section 1.

use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::ids::{RequestId, as_str};
use super::parse::Refused;
use super::reason::Reason;
use super::validate::Refusal;

/// The body type of every answer.
pub(crate) type Body = Full<Bytes>;

const VERSION: HeaderName = HeaderName::from_static("x-api-version");
const VERSIONS: HeaderName = HeaderName::from_static("x-api-supported-versions");
const JSON: &str = "application/json";

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: StatusCode,
    body: String,
    content_type: &'static str,
    retry_after_s: Option<u64>,
    allow: Option<&'static str>,
}

impl Answer {
    /// JSON text with a status.
    pub(crate) fn json(status: StatusCode, body: String) -> Self {
        Self { status, body, content_type: JSON, retry_after_s: None, allow: None }
    }

    /// The text format of Prometheus.
    pub(crate) fn metrics(body: String) -> Self {
        Self { content_type: "text/plain; version=0.0.4; charset=utf-8", ..Self::json(StatusCode::OK, body) }
    }

    /// A refusal; `extra` is further members, each with its leading comma.
    pub(crate) fn error(reason: Reason, message: &str, correlation: &str, extra: &str) -> Self {
        let mut body = String::with_capacity(160 + message.len() + extra.len());
        let _ = write!(
            body,
            r#"{{"status":"error","code":"{}","message":{},"correlation_id":"{correlation}"{extra}}}"#,
            reason.word(),
            Quoted(message),
        );
        Self::json(reason.status(), body)
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// The response; `headers` are the request's, whose memory serves again: hyper takes the response's map for the
    /// connection's next request.
    pub(crate) fn into_response(self, mut headers: HeaderMap) -> Response<Body> {
        headers.clear();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(VERSION, HeaderValue::from_static("v2.5"));
        headers.insert(VERSIONS, HeaderValue::from_static("v2.5, v2.0, v1.0"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}

/// A text as a JSON string.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
            return f.write_str(&serde_json::Value::from(self.0).to_string());
        }
        f.write_char('"')?;
        f.write_str(self.0)?;
        f.write_char('"')
    }
}

/// 200 of a single event.
pub(crate) fn single(correlation: &str, depth: u64) -> Answer {
    let mut body = String::with_capacity(96 + correlation.len());
    body.push_str(r#"{"status":"queued","correlation_id":""#);
    body.push_str(correlation);
    let _ = write!(body, r#"","queue_depth":{depth}}}"#);
    Answer::json(StatusCode::OK, body)
}

/// What an answer to a batch says, and what is stored for a repeat with the same Idempotency-Key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) request: RequestId,
    pub(crate) correlation: &'a str,
    /// All items, accepted and refused.
    pub(crate) items: usize,
    pub(crate) refused: &'a [Refused],
    pub(crate) depth: u64,
}

impl Batch<'_> {
    /// 200, 207 (some refused) or 400 (all refused).
    pub(crate) fn answer(&self) -> Answer {
        let accepted = self.items - self.refused.len();
        let status = match (accepted, self.refused.len()) {
            (_, 0) => StatusCode::OK,
            (0, _) => StatusCode::BAD_REQUEST,
            _ => StatusCode::MULTI_STATUS,
        };
        let mut body = String::with_capacity(200 + 39 * accepted + 120 * self.refused.len());
        if accepted > 0 {
            body.push_str(r#"{"status":"queued""#);
        } else {
            self.open_all_refused(&mut body);
        }
        let _ = write!(
            body,
            r#","accepted":{accepted},"rejected":{},"queue_depth":{},"correlation_ids":["#,
            self.refused.len(),
            self.depth
        );
        self.write_ids(&mut body);
        body.push(']');
        if !self.refused.is_empty() {
            body.push_str(r#","errors":["#);
            write_errors(&mut body, self.refused);
            body.push(']');
        }
        body.push_str(r#","correlation_id":""#);
        body.push_str(self.correlation);
        body.push_str("\"}");
        Answer::json(status, body)
    }

    /// The code is that of the first refused item; the others' stand in `errors`.
    fn open_all_refused(&self, body: &mut String) {
        let code = self.refused.first().map_or(Reason::Validation, |item| item.refusal.reason);
        let _ = write!(body, r#"{{"status":"error","code":"{}","message":"All items were refused""#, code.word());
    }

    /// The accepted items' ids; both lists are in the order of the items.
    fn write_ids(&self, body: &mut String) {
        let mut refused = self.refused.iter().map(|item| item.index).peekable();
        let mut first = true;
        for index in 0..self.items {
            if refused.next_if_eq(&index).is_some() {
                continue;
            }
            if !first {
                body.push(',');
            }
            first = false;
            body.push('"');
            body.push_str(as_str(&self.request.item(index)));
            body.push('"');
        }
    }
}

fn write_errors(body: &mut String, refused: &[Refused]) {
    for (nth, Refused { index, refusal: Refusal { reason, message }, .. }) in refused.iter().enumerate() {
        if nth > 0 {
            body.push(',');
        }
        let _ = write!(body, r#"{{"index":{index},"code":"{}","message":{}}}"#, reason.word(), Quoted(message));
    }
}
