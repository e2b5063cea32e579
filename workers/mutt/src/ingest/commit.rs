//! Group commit without a timer: while a push is under way, requests gather; all that came in goes in the next push.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mutt_queue::{Idempotency, Keys, PushError, Pushed, Pusher, Redis, RedisError, Request};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::gate::Gate;
use super::metrics::Metrics;
use super::reason::Reason;
use crate::worker::Shutdown;

/// Bytes of one push, about: larger ones would hold Redis for more than a millisecond. A single request is never split,
/// so that it is queued as a whole or not at all.
const GROUP_BYTES: usize = 256 * 1024;
/// QueueLink in flight. A further one is only sent when a full group waits.
const IN_FLIGHT_MAX: usize = 4;
/// Pause between questions about a push of unknown result.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What a sender's request adds to the queue.
#[derive(Debug)]
pub(crate) struct Commit {
    /// Elements, one after the other.
    pub(crate) elements: Vec<u8>,
    /// Where each ends.
    pub(crate) ends: Vec<usize>,
    /// Digest of the Idempotency-Key and the answer to keep.
    pub(crate) idempotency: Option<(String, String)>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// Redis has it; `repeated` is the kept answer if nothing was queued because it had it before.
    Queued { depth: u64, repeated: Option<Vec<u8>> },
    /// Redis refused it, or what happened cannot be learned.
    Failed,
}

struct Waiting {
    commit: Commit,
    reply: oneshot::Sender<Outcome>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

/// The shared end of the group commit of one thread.
pub(crate) struct Committer {
    queue: Mutex<Queue>,
    wake: Notify,
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
}

impl Committer {
    pub(crate) fn new(gate: Arc<Gate>, metrics: Arc<Metrics>) -> Self {
        Self { queue: Mutex::default(), wake: Notify::new(), gate, metrics }
    }

    /// Hands a request's events in and waits until Redis has answered. The push goes on if the caller goes away.
    pub(crate) async fn commit(&self, commit: Commit) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.gate.add_pending(commit.ends.len() as u64);
        {
            let mut queue = self.queue();
            queue.bytes += commit.elements.len();
            queue.waiting.push_back(Waiting { commit, reply });
        }
        self.wake.notify_one();
        outcome.await.unwrap_or(Outcome::Failed)
    }

    /// QueueLink until the end is asked for and nothing waits any more.
    pub(crate) async fn run(&self, link: &QueueLink, shutdown: Shutdown) {
        let mut in_flight = FuturesUnordered::new();
        loop {
            while let Some(group) = self.next_group(in_flight.len()) {
                in_flight.push(self.push(link, group));
            }
            if in_flight.is_empty() && shutdown.is_requested() {
                return;
            }
            tokio::select! {
                _ = in_flight.next(), if !in_flight.is_empty() => {}
                () = self.wake.notified() => {}
                () = shutdown.requested(), if !shutdown.is_requested() => {}
            }
        }
    }

    /// All that waits, up to the group's size, unless it should go on gathering.
    fn next_group(&self, in_flight: usize) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let may_push = match in_flight {
            0 => true,
            IN_FLIGHT_MAX.. => false,
            _ => queue.bytes >= GROUP_BYTES,
        };
        if !may_push || queue.waiting.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let mut count = 0;
        for waiting in &queue.waiting {
            let size = waiting.commit.elements.len();
            if count > 0 && bytes + size > GROUP_BYTES {
                break;
            }
            bytes += size;
            count += 1;
        }
        queue.bytes -= bytes;
        Some(queue.waiting.drain(..count).collect())
    }

    async fn push(&self, link: &QueueLink, group: Vec<Waiting>) {
        let events: usize = group.iter().map(|waiting| waiting.commit.ends.len()).sum();
        let outcome = link.push(&group).await;
        let events = events as u64;
        match outcome {
            Ok(pushed) => {
                self.gate.set_depth(pushed.depth);
                self.gate.sub_pending(events);
                self.metrics.queue_depth.set(pushed.depth as i64);
                let mut repeated = pushed.repeated.into_iter();
                for waiting in group {
                    let repeated = repeated.next().flatten();
                    if repeated.is_none() {
                        self.metrics.accepted.inc_by(waiting.commit.ends.len() as u64);
                    }
                    // A sender that went away does not hear that its events are queued.
                    let _ = waiting.reply.send(Outcome::Queued { depth: pushed.depth, repeated });
                }
            }
            Err(error) => {
                self.gate.sub_pending(events);
                self.metrics.refuse(Reason::Redis, events.max(1));
                tracing::warn!(reason = Reason::Redis.word(), events, %error, "push failed; senders are told to repeat");
                for waiting in group {
                    let _ = waiting.reply.send(Outcome::Failed);
                }
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How pushes reach Redis, and how a lost answer is looked up.
pub(crate) struct QueueLink {
    pub(crate) pusher: Pusher,
    pub(crate) redis: Redis,
    pub(crate) keys: Arc<Keys>,
    pub(crate) gate: Arc<Gate>,
    /// INGEST_PUSH_TIMEOUT.
    pub(crate) timeout: Duration,
}

impl QueueLink {
    async fn push(&self, group: &[Waiting]) -> Result<Pushed, RedisError> {
        let deadline = Instant::now() + self.timeout;
        let elements: Vec<&[u8]> = group.iter().flat_map(|waiting| slices(&waiting.commit)).collect();
        let mut rest = elements.as_slice();
        let requests: Vec<Request<'_, &[u8]>> = group
            .iter()
            .map(|Waiting { commit, .. }| {
                let (elements, behind) = rest.split_at(commit.ends.len().min(rest.len()));
                rest = behind;
                let idempotency = commit.idempotency.as_ref();
                let idempotency = idempotency.map(|(hash, answer)| Idempotency { hash, answer: answer.as_bytes() });
                Request { elements, idempotency }
            })
            .collect();
        match self.pusher.push(&requests).await {
            Ok(pushed) => Ok(pushed),
            Err(PushError { seq, source }) if source.is_unknown() => {
                self.look_up(seq, source, deadline).await?;
                let depth = self.gate.depth() + elements.len() as u64;
                let mut repeated = Vec::with_capacity(group.len());
                for waiting in group {
                    repeated.push(self.kept(&waiting.commit).await?);
                }
                Ok(Pushed { depth, repeated })
            }
            Err(PushError { source, .. }) => Err(source),
        }
    }

    /// Asks until the deadline whether a push of unknown result happened; an error means that it did not, or that it
    /// cannot be learned.
    async fn look_up(&self, seq: u64, lost: RedisError, deadline: Instant) -> Result<(), RedisError> {
        loop {
            match self.pusher.landed(seq).await {
                Ok(true) => {
                    tracing::info!(seq, error = %lost, "the answer to a push was lost; it had happened");
                    return Ok(());
                }
                Ok(false) => return Err(lost),
                Err(error) if Instant::now() + LOOK_INTERVAL >= deadline => {
                    tracing::warn!(seq, %error, "the result of a push cannot be learned");
                    return Err(lost);
                }
                Err(_) => sleep(LOOK_INTERVAL).await,
            }
        }
    }

    /// The kept answer of a request with an Idempotency-Key, the first one's if this was a repeat.
    async fn kept(&self, commit: &Commit) -> Result<Option<Vec<u8>>, RedisError> {
        match &commit.idempotency {
            Some((hash, _)) => self.kept_answer(hash).await,
            None => Ok(None),
        }
    }

    /// The answer kept for an Idempotency-Key.
    pub(crate) async fn kept_answer(&self, hash: &str) -> Result<Option<Vec<u8>>, RedisError> {
        self.redis.query(mutt_queue::redis::cmd("GET").arg(self.keys.idempotency(hash))).await
    }
}

fn slices(commit: &Commit) -> impl Iterator<Item = &[u8]> {
    let starts = std::iter::once(0).chain(commit.ends.iter().copied());
    starts.zip(&commit.ends).map(|(start, end)| commit.elements.get(start..*end).unwrap_or_default())
}
