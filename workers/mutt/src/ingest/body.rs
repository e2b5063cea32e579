//! Reads request bodies with bounds on bytes, time and on how many large ones are held at once.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Bodies above this are inflated and parsed off the main thread.
pub(crate) const LARGE_BYTES: usize = 256 * 1024;
/// Large bodies in memory at once; with the default limit of 16 MiB each they stay below 64 MiB before parsing.
pub(crate) const LARGE_AT_ONCE: usize = 4;
/// The whole body must be here within this time, whatever its size: a slow sender must not hold memory for long.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a refused request so much is read and thrown away, so that its sender sees the answer and keeps its connection.
const DRAIN_BYTES_MAX: usize = 1 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A complete body; large ones hold their place until they are parsed.
pub(crate) struct Received<'a> {
    pub(crate) bytes: Bytes,
    pub(crate) place: Option<SemaphorePermit<'a>>,
}

/// Why there is no complete body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    TooLarge,
    Slow,
    /// The connection broke, or the chunks are malformed.
    Broken,
}

/// Reads the body. A small one that is already here costs no timer and no copy.
pub(crate) async fn read<'a>(
    body: &mut Incoming,
    bytes_max: usize,
    large: &'a Semaphore,
) -> Result<Received<'a>, ReadError> {
    let mut reading = pin!(collect(body, bytes_max, large));
    let first = poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await;
    match first {
        Poll::Ready(received) => received,
        Poll::Pending => Box::pin(timeout(BODY_TIMEOUT, reading)).await.unwrap_or(Err(ReadError::Slow)),
    }
}

async fn collect<'a>(body: &mut Incoming, bytes_max: usize, large: &'a Semaphore) -> Result<Received<'a>, ReadError> {
    let mut place = None;
    if body.size_hint().lower() > LARGE_BYTES as u64 {
        place = Some(large.acquire().await.map_err(|_| ReadError::Broken)?);
    }
    let first = next_data(body).await?;
    if first.len() > bytes_max {
        return Err(ReadError::TooLarge);
    }
    if body.is_end_stream() {
        return Ok(Received { bytes: first, place });
    }
    let mut whole = Vec::with_capacity(2 * first.len() + (body.size_hint().lower() as usize).min(LARGE_BYTES));
    whole.extend_from_slice(&first);
    while !body.is_end_stream() {
        let chunk = next_data(body).await?;
        if whole.len() + chunk.len() > bytes_max {
            return Err(ReadError::TooLarge);
        }
        if chunk.is_empty() {
            break;
        }
        if place.is_none() && whole.len() + chunk.len() > LARGE_BYTES {
            place = Some(large.acquire().await.map_err(|_| ReadError::Broken)?);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(Received { bytes: Bytes::from(whole), place })
}

/// The next data of a body, empty at its end; trailers are passed over.
async fn next_data(body: &mut Incoming) -> Result<Bytes, ReadError> {
    loop {
        match body.frame().await {
            None => return Ok(Bytes::new()),
            Some(Err(_)) => return Err(ReadError::Broken),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(data);
                }
            }
        }
    }
}

/// Reads a refused body to its end if it is small enough to be worth it.
pub(crate) async fn drain(body: &mut Incoming) {
    if body.is_end_stream() || body.size_hint().lower() > DRAIN_BYTES_MAX as u64 {
        return;
    }
    let read_off = async {
        let mut bytes = 0;
        while let Ok(data) = next_data(body).await {
            bytes += data.len();
            if data.is_empty() || bytes > DRAIN_BYTES_MAX {
                return;
            }
        }
    };
    let _ = timeout(DRAIN_TIMEOUT, read_off).await;
}
