//! One batch to the ingest API, and what its answer means for the lines.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use mutt_secrets::{Pair, Secrets};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use serde::Deserialize;

/// Longest wait that a `Retry-After` may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);
/// Smaller bodies fit a few packets anyway.
const GZIP_BYTES_MIN: usize = 1024;

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The ingestor has it: queued, or `kept` of it in `dlq:ingest`.
    Accepted {
        /// Items that were refused and kept by the ingestor.
        kept: u64,
    },
    /// The body as a whole is not taken and nothing is kept: try smaller parts.
    Refused {
        /// Code and message.
        why: String,
    },
    /// Not now; the same again later.
    Later {
        /// Code and message, or the connection's error.
        why: String,
        /// The least wait, if the ingestor gave one.
        wait: Option<Duration>,
    },
    /// Settings are wrong (key, URL): keep trying slowly, people must act.
    Denied {
        /// Code and message.
        why: String,
    },
}

/// Posts batches over one kept-alive connection.
#[derive(Debug)]
pub(crate) struct Poster {
    client: reqwest::Client,
    url: String,
    gzip: bool,
    secrets: Secrets,
}

/// The parts of an answer of the ingest API that matter here.
#[derive(Debug, Default, Deserialize)]
struct Body {
    rejected: Option<u64>,
    code: Option<String>,
    message: Option<String>,
    #[serde(default)]
    errors: Vec<ItemError>,
}

#[derive(Debug, Deserialize)]
struct ItemError {
    code: Option<String>,
    message: Option<String>,
}

impl Poster {
    /// `url` is that of the ingest resource itself.
    pub(crate) fn new(client: reqwest::Client, url: String, gzip: bool, secrets: Secrets) -> Self {
        Self { client, url, gzip, secrets }
    }

    /// Posts `events` (JSON objects) under `idempotency_key`. During a rotation the next key is tried when the first is refused.
    pub(crate) async fn post(&self, events: &[impl AsRef<[u8]>], idempotency_key: &str) -> Answer {
        let (content_type, body) = encode(events);
        let (encoding, body) = self.compress(body);
        let mut keys = self.secrets.pair(Pair::Ingest).into_iter().peekable();
        if keys.peek().is_none() {
            return Answer::Denied { why: "no INGEST_API_KEY is set".to_owned() };
        }
        loop {
            let Some(key) = keys.next() else { return Answer::Denied { why: "the API key is refused".to_owned() } };
            let mut request = self.client.post(&self.url).header("X-API-KEY", key.expose());
            request = request.header("Idempotency-Key", idempotency_key).header(CONTENT_TYPE, content_type);
            if let Some(encoding) = encoding {
                request = request.header(CONTENT_ENCODING, encoding);
            }
            match request.body(body.clone()).send().await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && keys.peek().is_some() => {}
                Ok(response) => return answer(response, events.len() as u64).await,
                Err(error) => return Answer::Later { why: chain(&error), wait: None },
            }
        }
    }

    fn compress(&self, body: Bytes) -> (Option<&'static str>, Bytes) {
        if !self.gzip || body.len() < GZIP_BYTES_MIN {
            return (None, body);
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        match encoder.write_all(&body).and_then(|()| encoder.finish()) {
            Ok(compressed) => (Some("gzip"), compressed.into()),
            Err(_) => (None, body),
        }
    }
}

/// One event goes as an array of one, since a single object that is refused is not kept by the ingestor.
fn encode(events: &[impl AsRef<[u8]>]) -> (&'static str, Bytes) {
    let length: usize = events.iter().map(|event| event.as_ref().len() + 1).sum();
    let mut body = Vec::with_capacity(length + 1);
    if let [event] = events {
        body.push(b'[');
        body.extend_from_slice(event.as_ref());
        body.push(b']');
        return ("application/json", body.into());
    }
    for event in events {
        body.extend_from_slice(event.as_ref());
        body.push(b'\n');
    }
    ("application/x-ndjson", body.into())
}

async fn answer(response: reqwest::Response, items: u64) -> Answer {
    let status = response.status();
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(retry_after);
    let text = match response.bytes().await {
        Ok(text) => text,
        // The status decides; an answer cut off is repeated under the same key.
        Err(error) if status.is_success() => return Answer::Later { why: chain(&error), wait: None },
        Err(_) => Bytes::new(),
    };
    let body: Body = serde_json::from_slice(&text).unwrap_or_default();
    meaning(status, &body, wait, items)
}

fn meaning(status: StatusCode, body: &Body, wait: Option<Duration>, items: u64) -> Answer {
    let why = body.why(status);
    match status.as_u16() {
        200..=299 => Answer::Accepted { kept: body.rejected.unwrap_or(0) },
        400 if body.rejected == Some(items) => Answer::Accepted { kept: items },
        400 | 413 | 422 => Answer::Refused { why },
        408 | 425 | 429 | 500..=599 => Answer::Later { why, wait },
        _ => Answer::Denied { why },
    }
}

impl Body {
    fn why(&self, status: StatusCode) -> String {
        let first = self.errors.first();
        let code = self.code.as_deref().or_else(|| first.and_then(|error| error.code.as_deref()));
        let message = self.message.as_deref().or_else(|| first.and_then(|error| error.message.as_deref()));
        format!("{} {}: {}", status.as_u16(), code.unwrap_or("?"), message.unwrap_or("no message"))
    }
}

fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

/// An error with its causes; reqwest's own text says only where it happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn meaning_of(status: u16, body: &str, items: u64) -> Answer {
        let body = serde_json::from_str(body).unwrap();
        meaning(StatusCode::from_u16(status).unwrap(), &body, None, items)
    }

    #[test]
    fn what_the_ingestor_has_is_accepted() {
        assert_eq!(
            meaning_of(200, r#"{"status":"queued","accepted":2,"rejected":0}"#, 2),
            Answer::Accepted { kept: 0 }
        );
        let errors = r#"{"accepted":1,"rejected":1,"errors":[{"index":1,"code":"validation","message":"m"}]}"#;
        assert_eq!(meaning_of(207, errors, 2), Answer::Accepted { kept: 1 });
        assert_eq!(meaning_of(400, r#"{"rejected":2,"errors":[]}"#, 2), Answer::Accepted { kept: 2 });
    }

    #[test]
    fn a_body_refused_as_a_whole_is_to_be_split() {
        for status in [400, 413] {
            let answer = meaning_of(status, r#"{"code":"json","message":"Invalid JSON: x"}"#, 2);
            assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
        }
    }

    #[test]
    fn trouble_of_the_ingestor_is_waited_out_and_wrong_settings_are_said() {
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(matches!(meaning_of(status, "{}", 1), Answer::Later { .. }), "{status}");
        }
        for status in [301, 401, 403, 404, 405, 415] {
            assert!(matches!(meaning_of(status, "{}", 1), Answer::Denied { .. }), "{status}");
        }
    }

    #[test]
    fn retry_after_is_bounded() {
        assert_eq!(retry_after("3"), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }
}
