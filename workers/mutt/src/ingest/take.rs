//! From a received body to its answer: inflate, parse, keep what is refused, commit what is accepted.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::SemaphorePermit;

use super::answer::{self, Answer, Batch};
use super::body::LARGE_BYTES;
use super::commit::{Commit, Outcome};
use super::decode::{DecodeError, Encoding, MediaType};
use super::http::too_large;
use super::kept::{self, Kept};
use super::lane::{Lane, Shared};
use super::parse::{self, BodyRefusal, Parsed, Refused, Stamp};
use super::reason::Reason;
use super::reject::Reject;
use super::split::Shape;
use super::validate::Refusal;

/// A complete body and what its headers say of it.
pub(crate) struct ReceivedBody<'a> {
    pub(crate) bytes: Bytes,
    /// Held until the body is parsed.
    pub(crate) place: Option<SemaphorePermit<'a>>,
    pub(crate) media: MediaType,
    pub(crate) encoding: Encoding,
}

/// Why nothing of a body was accepted.
enum Unparsed {
    Decode(DecodeError),
    Refused(BodyRefusal),
}

/// Takes a request's events.
pub(crate) async fn take(
    lane: &Lane,
    source: IpAddr,
    received: ReceivedBody<'_>,
    stamp: &Stamp,
    idempotency: Option<&[u8]>,
) -> Result<Answer, Reject> {
    let parsed = match read_events(lane, received, stamp).await {
        Ok(parsed) => parsed,
        Err(unparsed) => return Err(Box::pin(refuse_whole(lane, unparsed, stamp)).await),
    };
    if let Some(limiter) = &lane.shared.sources {
        limiter.count(source, parsed.items as u64, Instant::now());
    }
    let idempotency = idempotency.map(kept::digest);
    match parsed.shape {
        Shape::Single => take_single(lane, parsed, stamp, idempotency).await,
        Shape::Batch => Box::pin(take_batch(lane, parsed, stamp, idempotency)).await,
    }
}

/// Inflates and parses; large bodies on another thread, so that small ones do not wait for them. Rare paths are boxed
/// here and above: a request's future is moved several times, and its size is that of its largest path.
async fn read_events(lane: &Lane, received: ReceivedBody<'_>, stamp: &Stamp) -> Result<Parsed, Unparsed> {
    let ReceivedBody { bytes, place, media, encoding } = received;
    if bytes.len() <= LARGE_BYTES {
        let inflated_max = LARGE_BYTES.min(lane.shared.body_bytes_max);
        match decode_and_parse(&lane.shared, &bytes, media, encoding, stamp, inflated_max) {
            Err(Unparsed::Decode(DecodeError::TooLarge)) if inflated_max < lane.shared.body_bytes_max => {}
            result => return result,
        }
    }
    Box::pin(read_large(lane, ReceivedBody { bytes, place, media, encoding }, stamp)).await
}

async fn read_large(lane: &Lane, received: ReceivedBody<'_>, stamp: &Stamp) -> Result<Parsed, Unparsed> {
    let ReceivedBody { bytes, place, media, encoding } = received;
    // A small body that inflates to a large one has no place yet.
    let place = match place {
        Some(place) => Some(place),
        None => lane.shared.large.acquire().await.ok(),
    };
    let shared = lane.shared.clone();
    let stamp = stamp.clone();
    let parsing = tokio::task::spawn_blocking(move || {
        decode_and_parse(&shared, &bytes, media, encoding, &stamp, shared.body_bytes_max)
    });
    let result = parsing.await;
    drop(place);
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "parsing ended early");
        let refusal = Refusal { reason: Reason::Unknown, message: "Internal server error".to_owned() };
        Err(Unparsed::Refused(BodyRefusal::Body { refusal, kept: None }))
    })
}

fn decode_and_parse(
    shared: &Arc<Shared>,
    bytes: &[u8],
    media: MediaType,
    encoding: Encoding,
    stamp: &Stamp,
    inflated_max: usize,
) -> Result<Parsed, Unparsed> {
    let body: Cow<'_, [u8]> = encoding.decode(bytes, inflated_max).map_err(Unparsed::Decode)?;
    let newline_type = media == MediaType::NewlineJson;
    let refused_max = usize::try_from(shared.dlq_max).unwrap_or(usize::MAX);
    parse::parse(&body, &shared.known, newline_type, stamp, refused_max).map_err(Unparsed::Refused)
}

/// The answer to a body of which nothing is accepted; what its sender may not be able to repeat is kept first.
async fn refuse_whole(lane: &Lane, unparsed: Unparsed, stamp: &Stamp) -> Reject {
    match unparsed {
        Unparsed::Decode(DecodeError::TooLarge) => too_large(lane.shared.body_bytes_max),
        Unparsed::Decode(error @ DecodeError::Corrupt(_)) => {
            Reject::new(Reason::Json, format!("Invalid JSON: {error}"))
        }
        Unparsed::Refused(BodyRefusal::TooManyRefused) => Reject::dlq_full(),
        Unparsed::Refused(BodyRefusal::Body { refusal, kept: None }) => refusal.into(),
        Unparsed::Refused(BodyRefusal::Body { refusal, kept: Some(event) }) => {
            let whole = [Refused { index: 0, refusal: refusal.clone(), event }];
            match keep_refused(lane, &whole, stamp).await {
                Ok(()) => refusal.into(),
                Err(reject) => reject,
            }
        }
    }
}

async fn take_single(
    lane: &Lane,
    parsed: Parsed,
    stamp: &Stamp,
    idempotency: Option<String>,
) -> Result<Answer, Reject> {
    let idempotency = idempotency.map(|hash| (hash, Kept::single(stamp.request, &stamp.correlation)));
    let commit = Commit { elements: parsed.elements, ends: parsed.ends, idempotency };
    match lane.committer.commit(commit).await {
        Outcome::Queued { depth, repeated: None } => Ok(answer::single(&stamp.correlation, depth)),
        Outcome::Queued { depth, repeated: Some(kept) } => first_answer(&kept, depth),
        Outcome::Failed => Err(Reject::redis().events(0)),
    }
}

async fn take_batch(lane: &Lane, parsed: Parsed, stamp: &Stamp, idempotency: Option<String>) -> Result<Answer, Reject> {
    let Parsed { items, elements, ends, refused, .. } = parsed;
    if !refused.is_empty() {
        if let Some(hash) = &idempotency {
            // The push looks again; this only keeps a repeat's refused items from being kept twice.
            let kept = lane.queue.kept_answer(hash).await.map_err(|_| Reject::redis().events(items as u64))?;
            if let Some(kept) = kept {
                return first_answer(&kept, lane.shared.gate.depth());
            }
        }
        keep_refused(lane, &refused, stamp).await.map_err(|reject| reject.events(items as u64))?;
    }
    let idempotency = idempotency.map(|hash| (hash, Kept::batch(stamp.request, &stamp.correlation, items, &refused)));
    let mut depth = lane.shared.gate.depth();
    if !ends.is_empty() || idempotency.is_some() {
        match lane.committer.commit(Commit { elements, ends, idempotency }).await {
            Outcome::Queued { repeated: Some(kept), depth } => return first_answer(&kept, depth),
            Outcome::Queued { repeated: None, depth: after } => depth = after,
            Outcome::Failed => return Err(Reject::redis().events(0)),
        }
    }
    for item in &refused {
        lane.shared.metrics.refuse(item.refusal.reason, 1);
    }
    Ok(Batch { request: stamp.request, correlation: &stamp.correlation, items, refused: &refused, depth }.answer())
}

/// The answer to a repeat.
fn first_answer(kept: &[u8], depth: u64) -> Result<Answer, Reject> {
    Kept::answer(kept, depth).ok_or_else(|| Reject::new(Reason::Unknown, "Internal server error").events(0))
}

/// Puts refused items where a person can find, mend and replay them; only then may they be answered 4xx.
async fn keep_refused(lane: &Lane, refused: &[Refused], stamp: &Stamp) -> Result<(), Reject> {
    let letters: Vec<String> = refused.iter().map(|item| dead_letter(item, stamp)).collect();
    match lane.queue.pusher.push_refused(&letters, lane.shared.dlq_max).await {
        Ok(Some(_)) => {
            tracing::info!(
                items = refused.len(),
                correlation_id = stamp.correlation,
                "refused items kept in dlq:ingest"
            );
            Ok(())
        }
        Ok(None) => Err(Reject::dlq_full()),
        Err(error) => {
            tracing::warn!(%error, "refused items cannot be kept; the sender is told to repeat");
            Err(Reject::redis())
        }
    }
}

fn dead_letter(item: &Refused, stamp: &Stamp) -> String {
    let Refusal { reason, message } = &item.refusal;
    let detail = serde_json::Value::from(message.as_str());
    format!(
        r#"{{"event":{},"reason":"{}","detail":{detail},"attempts":0,"dead_lettered_at":"{}"}}"#,
        item.event,
        reason.word(),
        stamp.received_at
    )
}
