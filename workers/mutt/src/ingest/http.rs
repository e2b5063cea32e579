//! The HTTP side of the ingest API: routing, the order of checks, answers (CONTRACT section 1).

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use mutt_secrets::Pair;

use super::answer::{Answer, Body};
use super::body::{self, ReadError};
use super::decode::{Encoding, MediaType};
use super::ids;
use super::lane::Lane;
use super::parse::Stamp;
use super::reason::Reason;
use super::reject::Reject;
use super::take;
use crate::telemetry::{VERSION, exposition};

const PATHS: [&str; 2] = ["/ingest", "/api/v2/ingest"];
const OPEN_PATHS: [&str; 5] = ["/", "/health", "/live", "/ready", "/metrics"];
const RETRY_QUEUE_FULL_S: u64 = 2;

/// Serves one connection.
pub(crate) struct IngestService {
    pub(crate) lane: Arc<Lane>,
    /// The sender's address.
    pub(crate) source: IpAddr,
}

impl Service<Request<Incoming>> for IngestService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let lane = self.lane.clone();
        let source = self.source;
        Box::pin(async move { Ok(handle(&lane, source, request).await) })
    }
}

async fn handle(lane: &Lane, source: IpAddr, request: Request<Incoming>) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path();
    if let (&Method::GET | &Method::HEAD, Some(open)) = (&head.method, OPEN_PATHS.iter().find(|open| **open == path)) {
        return open_answer(lane, open).into_response(head.headers);
    }
    let started = Instant::now();
    let stamp = Stamp::new(sent_correlation(&head.headers));
    let answer = match ingest(lane, source, &head, &mut body, &stamp).await {
        Ok(answer) => answer,
        Err(reject) => {
            if reject.reason != Reason::TooLarge {
                Box::pin(body::drain(&mut body)).await;
            }
            reject.answer(&lane.shared.metrics, &stamp.correlation)
        }
    };
    lane.shared.metrics.latency.observe(started.elapsed().as_secs_f64());
    answer.into_response(head.headers)
}

/// What needs no key.
fn open_answer(lane: &Lane, path: &str) -> Answer {
    let health = &lane.shared.health;
    let (status, value) = match path {
        "/live" => health.live(),
        "/ready" => health.ready(),
        "/health" => health.health(),
        "/metrics" => return Answer::metrics(exposition(&lane.shared.registry)),
        _ => {
            let about = serde_json::json!({
                "service": "mutt-ingestor",
                "version": VERSION,
                "description": "Takes syslog, SNMP traps and other events as JSON",
                "endpoints": {
                    "ingest": "POST /ingest, POST /api/v2/ingest: one JSON object, an array, or one per line; header X-API-KEY",
                    "health": "GET /health", "live": "GET /live", "ready": "GET /ready", "metrics": "GET /metrics",
                },
            });
            (StatusCode::OK, about)
        }
    };
    Answer::json(status, value.to_string())
}

/// The sender's X-Correlation-ID if it may be taken over.
fn sent_correlation(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("x-correlation-id")?;
    if ids::is_correlation_id(value.as_bytes()) { value.to_str().ok() } else { None }
}

/// The checks in the contract's order, then the events.
async fn ingest(
    lane: &Lane,
    source: IpAddr,
    head: &Parts,
    body: &mut Incoming,
    stamp: &Stamp,
) -> Result<Answer, Reject> {
    let shared = &lane.shared;
    let key = head.headers.get("x-api-key").map_or(&b""[..], |value| value.as_bytes());
    if !shared.secrets.accepts(Pair::Ingest, key) {
        return Err(Reject::new(Reason::Auth, "Unauthorized"));
    }
    check_route(head)?;
    check_length(&head.headers, shared.body_bytes_max)?;
    let (media, encoding) = check_types(&head.headers)?;
    check_load(lane, source)?;
    let received = match body::read(body, shared.body_bytes_max, &shared.large).await {
        Ok(received) => received,
        Err(ReadError::TooLarge) => return Err(too_large(shared.body_bytes_max)),
        Err(ReadError::Slow) => {
            let slow = Reject::new(Reason::Unknown, "Service Unavailable - the body did not arrive in time");
            return Err(slow.status(StatusCode::SERVICE_UNAVAILABLE).retry_after(1));
        }
        Err(ReadError::Broken) => return Err(Reject::new(Reason::Json, "Invalid JSON: the body is incomplete")),
    };
    let idempotency = head.headers.get("idempotency-key").map(HeaderValue::as_bytes).filter(|key| !key.is_empty());
    let received = take::ReceivedBody { bytes: received.bytes, place: received.place, media, encoding };
    take::take(lane, source, received, stamp, idempotency).await
}

fn check_route(head: &Parts) -> Result<(), Reject> {
    let path = head.uri.path();
    if PATHS.contains(&path) {
        if head.method == Method::POST {
            return Ok(());
        }
        return Err(Reject::new(Reason::Method, "Method not allowed: use POST").allow("POST"));
    }
    if OPEN_PATHS.contains(&path) {
        return Err(Reject::new(Reason::Method, "Method not allowed: use GET").allow("GET, HEAD"));
    }
    Err(Reject::new(Reason::NotFound, "Not found: events go to POST /ingest"))
}

fn check_length(headers: &HeaderMap, bytes_max: usize) -> Result<(), Reject> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    if length.is_some_and(|length: u64| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    Ok(())
}

pub(crate) fn too_large(bytes_max: usize) -> Reject {
    Reject::new(Reason::TooLarge, format!("Payload too large: at most {bytes_max} bytes, also when decompressed"))
}

fn check_types(headers: &HeaderMap) -> Result<(MediaType, Encoding), Reject> {
    let media = match headers.get(CONTENT_TYPE) {
        None => MediaType::Json,
        Some(value) => MediaType::from_header(value.as_bytes()).ok_or_else(|| {
            Reject::new(Reason::MediaType, "Unsupported media type: use application/json or application/x-ndjson")
        })?,
    };
    let encoding = match headers.get(CONTENT_ENCODING) {
        None => Encoding::Identity,
        Some(value) => Encoding::from_header(value.as_bytes())
            .ok_or_else(|| Reject::new(Reason::MediaType, "Unsupported content encoding: use gzip or zstd"))?,
    };
    Ok((media, encoding))
}

/// Overload is answered before the body is read.
fn check_load(lane: &Lane, source: IpAddr) -> Result<(), Reject> {
    let shared = &lane.shared;
    if !shared.is_checked() {
        return Err(Reject::redis());
    }
    if let Err(closed) = shared.gate.admit() {
        let mut extra = format!(r#","queue_depth":{},"queue_limit":{}"#, closed.queue_depth, closed.queue_limit);
        if let Some((bytes, bytes_max)) = closed.bytes {
            let _ = write!(extra, r#","redis_bytes":{bytes},"redis_bytes_limit":{bytes_max}"#);
        }
        let full = Reject::new(Reason::QueueFull, "Service Unavailable - queue full");
        return Err(full.extra(extra).retry_after(RETRY_QUEUE_FULL_S));
    }
    if let Some(limiter) = &shared.sources
        && let Some(wait_s) = limiter.wait_s(source, Instant::now())
    {
        shared.metrics.rate_limit_hits.inc();
        let limited = Reject::new(Reason::RateLimit, "Too many events from this source");
        return Err(limited.extra(format!(r#","retry_after":{wait_s}"#)).retry_after(wait_s));
    }
    Ok(())
}
