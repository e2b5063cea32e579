//! The webhook's client: keep-alive, no redirects, one time limit for the whole exchange.
//!
//! reqwest rather than bare hyper: with it a forwarder does 24,000 alerts per CPU-second (twice the goal, measured by
//! `mutt bench` on two busy cores of an EPYC), and it brings proxies from the environment.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, Method, Request, Response, Url};

use super::backoff;
use super::verdict::Answer;

/// What of an answer is kept for the dead letter.
const DETAIL_BYTES_MAX: usize = 1024;
/// A longer answer is not read to its end: the connection is given up instead.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// An idle connection is closed before usual receivers and balancers do (60 s).
const IDLE_MAX: Duration = Duration::from_secs(50);

/// How one POST ended.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Status, or why there is none.
    pub(crate) answer: Answer,
    /// What the receiver asked for.
    pub(crate) retry_after: Option<Duration>,
    /// For the dead letter: status and the answer's beginning, or the error.
    pub(crate) detail: String,
}

/// A client for one URL.
#[derive(Debug, Clone)]
pub(crate) struct WebhookClient {
    client: Client,
    url: Url,
}

impl WebhookClient {
    /// `tls` verifies the receiver; `timeout` bounds a POST from the connection to the answer's end.
    pub(crate) fn new(
        url: Url,
        timeout: Duration,
        connections: usize,
        tls: rustls::ClientConfig,
    ) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(timeout)
            .redirect(Policy::none())
            .referer(false)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(connections)
            .user_agent(concat!("mutt/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .build()?;
        Ok(Self { client, url })
    }

    /// Sends one alert. Everything that can go wrong is an answer.
    pub(crate) async fn post(&self, body: Vec<u8>, key: &str) -> Reply {
        let Ok(mut authorization) = HeaderValue::from_str(&format!("Bearer {key}")) else {
            // Refused here as the receiver would refuse it: a matter of the key, not of the alert.
            let detail = "MOOG_API_KEY has characters that no header carries".to_owned();
            return Reply { answer: Answer::Status(401), retry_after: None, detail };
        };
        authorization.set_sensitive(true);
        let mut request = Request::new(Method::POST, self.url.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(AUTHORIZATION, authorization);
        *request.body_mut() = Some(Body::from(body));
        match self.client.execute(request).await {
            Ok(response) => read(response).await,
            Err(error) => {
                let answer = if error.is_timeout() { Answer::TimedOut } else { Answer::Connection };
                Reply { answer, retry_after: None, detail: chain(&error.without_url()) }
            }
        }
    }
}

/// The status decides, whatever becomes of the body; that is read so that the connection can be used again.
async fn read(mut response: Response) -> Reply {
    let status = response.status();
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = asked.and_then(|value| backoff::retry_after(value, jiff::Timestamp::now()));
    let (mut kept, mut length) = (Vec::new(), 0);
    while let Ok(Some(chunk)) = response.chunk().await {
        length += chunk.len();
        if !status.is_success() {
            kept.extend_from_slice(&chunk[..chunk.len().min(DETAIL_BYTES_MAX - kept.len())]);
        }
        if length > ANSWER_BYTES_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let detail = format!("{status} {text}").trim_end().to_owned();
    Reply { answer: Answer::Status(status.as_u16()), retry_after, detail }
}

/// An error with its causes: reqwest's own text names only the outermost.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
