//! A sender of events that knows what was accepted.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client;

/// An answer of the ingestor.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The JSON body; null when it was none.
    pub json: Value,
    /// Value of Retry-After.
    pub retry_after: Option<String>,
}

/// Posts events to an ingestor.
#[derive(Debug, Clone)]
pub struct Sender {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Sender {
    /// A sender with the ingestor's address (`http://127.0.0.1:<port>`) and a key.
    pub fn new(base: &str, key: &str) -> Self {
        Self { client: client(), url: format!("{base}/api/v2/ingest"), key: key.to_owned() }
    }

    /// Posts a body; `None` when no answer came.
    pub async fn post(&self, body: impl Into<reqwest::Body>, headers: &[(&str, &str)]) -> Option<Answer> {
        let mut request = self.client.post(&self.url).header("X-API-KEY", &self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().await.ok()?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap_or("").to_owned());
        let json = serde_json::from_slice(&answer.bytes().await.ok()?).unwrap_or_default();
        Some(Answer { status, json, retry_after })
    }

    /// Posts one object or an array as JSON; `None` when no answer came.
    pub async fn send(&self, events: &Value) -> Option<Answer> {
        self.post(events.to_string(), &[("Content-Type", "application/json")]).await
    }

    /// Posts until it is accepted, with one idempotency key for all tries, as a careful sender does.
    pub async fn send_until_accepted(&self, events: &Value, idempotency_key: &str) {
        loop {
            let headers = [("Content-Type", "application/json"), ("Idempotency-Key", idempotency_key)];
            match self.post(events.to_string(), &headers).await {
                Some(Answer { status: 200, .. }) => return,
                Some(Answer { status, json, .. }) => {
                    assert!([429, 503].contains(&status), "refused for good: {status} {json}");
                }
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A syslog event of a host.
pub fn event(host: &str, message: &str) -> Value {
    json!({
        "timestamp": "2026-03-01T12:00:00Z",
        "hostname": host,
        "message": message,
        "severity": "err",
        "facility": "local7",
        "source": "syslog",
    })
}
