//! One request to the ingest API, repeated while the ingestor is away or busy.

use std::time::Duration;

use mutt_secrets::{Pair, Secrets};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use url::Url;
use uuid::Uuid;

use crate::worker::{Fatal, Shutdown};

/// An ingestor answers within its push's time limit (5 s by default); this is for broken networks.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Between tries when the ingestor does not say.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

/// The answer of the ingest API, single or batch.
#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) correlation_id: String,
    pub(super) correlation_ids: Option<Vec<String>>,
    pub(super) rejected: Option<u64>,
    #[serde(default)]
    pub(super) queue_depth: u64,
    #[serde(default)]
    pub(super) errors: Vec<ItemError>,
    #[serde(skip)]
    pub(super) status: u16,
}

/// A refused item of a batch.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ItemError {
    pub(super) index: usize,
    pub(super) code: String,
    pub(super) message: String,
}

/// Posts with the key, and with the next one during a rotation.
pub(super) struct Poster {
    client: reqwest::Client,
    url: Url,
    secrets: Secrets,
    patience: Duration,
}

/// What one try gave.
enum Try {
    Final(Answer),
    Later { why: String, wait: Option<Duration> },
}

impl Poster {
    pub(super) fn new(client: reqwest::Client, url: Url, secrets: Secrets, patience: Duration) -> Self {
        Self { client, url, secrets, patience }
    }

    /// Posts one event by itself, several as lines.
    pub(super) async fn post(&self, events: &[Vec<u8>], shutdown: &Shutdown) -> Result<Answer, Fatal> {
        let (content_type, body) = match events {
            [event] => ("application/json", event.clone()),
            events => ("application/x-ndjson", events.join(&b'\n')),
        };
        let idempotency_key = Uuid::now_v7().to_string();
        let deadline = Instant::now() + self.patience;
        loop {
            let (why, wait) = match self.once(content_type, &body, &idempotency_key).await? {
                Try::Final(answer) => return Ok(answer),
                Try::Later { why, wait } => (why, wait.unwrap_or(RETRY_DEFAULT)),
            };
            if Instant::now() + wait > deadline {
                return Err(Fatal::Refused(format!(
                    "{}: {why}; given up after {} s",
                    self.url,
                    self.patience.as_secs()
                )));
            }
            eprintln!("mutt: {why}; trying again in {} s", wait.as_secs());
            tokio::select! {
                () = sleep(wait) => {}
                () = shutdown.requested() => return Err(Fatal::Refused("interrupted".to_owned())),
            }
        }
    }

    async fn once(&self, content_type: &str, body: &[u8], idempotency_key: &str) -> Result<Try, Fatal> {
        let keys = self.secrets.pair(Pair::Ingest);
        for (nth, key) in keys.iter().enumerate() {
            let request = self.client.post(self.url.clone()).header("X-API-KEY", key.expose());
            let request = request.header(CONTENT_TYPE, content_type).header("Idempotency-Key", idempotency_key);
            let response = match request.body(body.to_vec()).send().await {
                Ok(response) => response,
                Err(error) => return Ok(Try::Later { why: chain(&error), wait: None }),
            };
            if response.status() == StatusCode::UNAUTHORIZED && nth + 1 < keys.len() {
                continue;
            }
            return read(response).await;
        }
        Err(Fatal::Refused("no INGEST_API_KEY is set".to_owned()))
    }
}

async fn read(response: reqwest::Response) -> Result<Try, Fatal> {
    let status = response.status();
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let text = match response.bytes().await {
        Ok(text) => text,
        Err(error) => return Ok(Try::Later { why: chain(&error), wait: None }),
    };
    let answer: Answer = serde_json::from_slice(&text).unwrap_or_default();
    let answer = Answer { status: status.as_u16(), ..answer };
    match status.as_u16() {
        200..=299 | 400 | 413 => Ok(Try::Final(answer)),
        429 | 500..=599 => {
            let why = format!("{} {}", status.as_u16(), answer.message);
            Ok(Try::Later { why, wait: wait.map(Duration::from_secs) })
        }
        401 => Err(Fatal::Refused("401 Unauthorized: INGEST_API_KEY is not the ingestor's key".to_owned())),
        _ => Err(Fatal::Refused(format!("{status}: {}; is this the ingestor's URL?", answer.message))),
    }
}

/// An error with its causes; reqwest's own text says only where it happened.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
