//! The ingestor's push: one atomic step for a whole group of requests.
//!
//! Without idempotency keys a group is MULTI; LPUSH; a small script that counts; EXEC: a native
//! LPUSH costs Redis a third less per event than one from Lua. With such keys it is one script,
//! which has to look before it pushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Cmd, Value};

use crate::connection::{Live, Redis};
use crate::error::{RedisError, checked};
use crate::ids::WorkerId;
use crate::keys::Keys;
use crate::script::Script;
use crate::summary::SummaryKeys;

static COUNTED: Script = Script::new(include_str!("lua/counted.lua"));
static PUSH: Script = Script::new(include_str!("lua/push.lua"));
static REFUSE: Script = Script::new(include_str!("lua/refuse.lua"));

/// Life of the commit key and of answers to idempotency keys, in seconds.
pub const COMMIT_TTL_S: u64 = 600;

/// One request of a group.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a, E> {
    /// The elements to queue, in order.
    pub elements: &'a [E],
    /// What makes a repeat of this request harmless, if it carries a key.
    pub idempotency: Option<Idempotency<'a>>,
}

/// A request's idempotency key and the answer that a repeat within 10 minutes gets.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency<'a> {
    /// Digest of the sender's key.
    pub hash: &'a str,
    /// The answer to keep.
    pub answer: &'a [u8],
}

/// What a push is to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Redis has it in memory.
    Memory,
    /// Redis has it on disk (WAITAOF).
    Fsync,
    /// This many replicas have it (WAIT).
    Replicas(u32),
}

/// A push that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Length of the ingest queue afterwards.
    pub depth: u64,
    /// For each request the kept answer if it was a repeat (then nothing of it was queued).
    pub repeated: Vec<Option<Vec<u8>>>,
}

/// A push that failed, or whose result is unknown.
#[derive(Debug, Clone, thiserror::Error)]
#[error("push {seq}: {source}")]
pub struct PushError {
    /// The number to ask [`Pusher::landed`] about if the kind is `Unknown`.
    pub seq: u64,
    /// What happened.
    #[source]
    pub source: RedisError,
}

/// Pushes of one ingestor thread. Several may be in flight at once.
pub struct Pusher {
    redis: Redis,
    keys: Arc<Keys>,
    commit: String,
    seq: AtomicU64,
    loaded: AtomicU64,
    ack: Ack,
    ack_timeout: Duration,
    summary: SummaryKeys,
}

impl Pusher {
    /// `worker` names this thread alone; `ack_timeout` bounds the wait for `ack` and must be below
    /// the response timeout.
    pub fn new(redis: Redis, keys: Arc<Keys>, worker: &WorkerId, ack: Ack, ack_timeout: Duration) -> Self {
        let commit = keys.commit(worker);
        let summary = SummaryKeys::new(&keys.metrics);
        Self { redis, keys, commit, seq: AtomicU64::new(0), loaded: AtomicU64::new(0), ack, ack_timeout, summary }
    }

    /// Pushes a group. An answer means that Redis has all of it, as far as the [`Ack`] asks.
    ///
    /// # Errors
    /// `Refused` = nothing was queued (but `NOTDURABLE`: queued, not confirmed); `Unknown` = ask
    /// [`Pusher::landed`].
    pub async fn push<E: AsRef<[u8]>>(&self, group: &[Request<'_, E>]) -> Result<Pushed, PushError> {
        let live = self.ready().await.map_err(|source| PushError { seq: 0, source })?;
        // Numbered right before it is sent: the order of numbers is the order on the wire.
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let sent = if group.iter().any(|request| request.idempotency.is_some()) {
            self.push_keyed(&live, seq, group).await
        } else {
            self.push_plain(&live, seq, group).await
        };
        let result = match sent {
            Ok(pushed) => self.confirm(&live).await.map(|()| pushed),
            Err(error) => Err(error),
        };
        self.redis.judge(&live, result).map_err(|source| PushError { seq, source })
    }

    /// A connection that knows the counting script: inside MULTI an unknown one cannot be helped.
    async fn ready(&self) -> Result<Live, RedisError> {
        let mut live = self.redis.live().await?;
        if self.loaded.load(Ordering::Relaxed) != live.generation {
            let loaded = live.connection.send_packed_command(&COUNTED.load()).await;
            let loaded = loaded.map_err(RedisError::sent).and_then(checked);
            self.redis.judge(&live, loaded)?;
            self.loaded.store(live.generation, Ordering::Relaxed);
        }
        Ok(live)
    }

    async fn push_plain<E: AsRef<[u8]>>(
        &self,
        live: &Live,
        seq: u64,
        group: &[Request<'_, E>],
    ) -> Result<Pushed, RedisError> {
        let (events, bytes) = size(group);
        if events == 0 {
            return Err(RedisError::not_sent("nothing to push"));
        }
        let mut push = Cmd::with_capacity(events + 2, bytes + 64);
        push.arg("LPUSH").arg(&self.keys.ingest_queue);
        for element in group.iter().flat_map(|request| request.elements) {
            push.arg(element.as_ref());
        }
        let [minute, hour, day] = self.summary.now();
        let mut counted =
            COUNTED.call(&[&self.keys.ingest_queue, &self.keys.totals, &self.commit, &minute, &hour, &day]);
        counted.arg(events).arg(seq).arg(COMMIT_TTL_S);
        let mut pipe = redis::pipe();
        pipe.atomic().ignore_errors().add_command(push).add_command(counted.command().clone());
        let mut connection = live.connection.clone();
        let answers: Vec<redis::RedisResult<Value>> =
            pipe.query_async(&mut connection).await.map_err(RedisError::sent)?;
        let [pushed, counts] =
            <[_; 2]>::try_from(answers).map_err(|_| RedisError::shape("push"))?.map(|a| a.map_err(RedisError::sent));
        let depth = redis::from_redis_value(pushed?).map_err(|_| RedisError::shape("push"))?;
        if let Err(error) = counts {
            self.count_late(live, &counted, error).await?;
        }
        Ok(Pushed { depth, repeated: vec![None; group.len()] })
    }

    /// After SCRIPT FLUSH: the push stands, only its counting is missing. On the same connection,
    /// so that a broken one ends as `Unknown`.
    async fn count_late(
        &self,
        live: &Live,
        counted: &crate::script::Call,
        error: RedisError,
    ) -> Result<(), RedisError> {
        if error.code() != Some("NOSCRIPT") {
            tracing::error!(%error, "a push was not counted");
            return Ok(());
        }
        let mut connection = live.connection.clone();
        for command in [&COUNTED.load(), counted.command()] {
            connection.send_packed_command(command).await.map_err(RedisError::sent).and_then(checked)?;
        }
        Ok(())
    }

    async fn push_keyed<E: AsRef<[u8]>>(
        &self,
        live: &Live,
        seq: u64,
        group: &[Request<'_, E>],
    ) -> Result<Pushed, RedisError> {
        let hashes: Vec<String> =
            group.iter().filter_map(|r| r.idempotency).map(|i| self.keys.idempotency(i.hash)).collect();
        let [minute, hour, day] = self.summary.now();
        let mut keys: Vec<&str> = vec![&self.keys.ingest_queue, &self.keys.totals, &self.commit, &minute, &hour, &day];
        let mut next_key = keys.len();
        keys.extend(hashes.iter().map(String::as_str));
        let (events, bytes) = size(group);
        let mut call = PUSH.call_sized(&keys, events + 3 * group.len(), bytes);
        call.arg(seq).arg(COMMIT_TTL_S).arg(COMMIT_TTL_S).arg(group.len());
        for request in group {
            match request.idempotency {
                Some(idempotency) => {
                    next_key += 1;
                    call.arg(next_key).arg(idempotency.answer);
                }
                None => {
                    call.arg(0).arg("");
                }
            }
            call.arg(request.elements.len());
        }
        for element in group.iter().flat_map(|request| request.elements) {
            call.arg(element.as_ref());
        }
        let answer = self.run_on(live, &call).await?;
        let (depth, repeated) = redis::from_redis_value(answer).map_err(|_| RedisError::shape("push"))?;
        Ok(Pushed { depth, repeated })
    }

    /// Runs a script on this very connection.
    async fn run_on(&self, live: &Live, call: &crate::script::Call) -> Result<Value, RedisError> {
        let mut connection = live.connection.clone();
        match send_on(&mut connection, call.command()).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                send_on(&mut connection, &call.load()).await?;
                send_on(&mut connection, call.command()).await
            }
            result => result,
        }
    }

    /// Waits for disk or replicas, on the connection that pushed: Redis counts by connection.
    async fn confirm(&self, live: &Live) -> Result<(), RedisError> {
        let timeout_ms = self.ack_timeout.as_millis() as u64;
        let (command, wanted) = match self.ack {
            Ack::Memory => return Ok(()),
            Ack::Fsync => (redis::cmd("WAITAOF").arg(1).arg(0).arg(timeout_ms).clone(), 1),
            Ack::Replicas(count) => (redis::cmd("WAIT").arg(count).arg(timeout_ms).clone(), count),
        };
        let mut connection = live.connection.clone();
        let answer = connection.send_packed_command(&command).await.map_err(RedisError::sent).and_then(checked)?;
        let confirmed: u32 = match answer {
            Value::Array(counts) => counts.into_iter().next().map_or(Ok(0), redis::from_redis_value),
            count => redis::from_redis_value(count),
        }
        .map_err(|_| RedisError::shape("WAIT"))?;
        if confirmed < wanted {
            return Err(RedisError::refused("NOTDURABLE", format!("{confirmed} of {wanted} copies confirmed")));
        }
        Ok(())
    }

    /// Whether a push of unknown result happened. The lost connection is dead by the time this
    /// looks, so a no is final. False also if it cannot be told any more (then a repeat by the
    /// sender may queue it twice).
    ///
    /// # Errors
    /// Those of a command; then it is still unknown.
    pub async fn landed(&self, seq: u64) -> Result<bool, RedisError> {
        let runs: Option<String> = self.redis.query(redis::cmd("GET").arg(&self.commit)).await?;
        let holds = |run: &str| {
            let (from, to) = run.split_once('-')?;
            Some((from.parse::<u64>().ok()?..=to.parse().ok()?).contains(&seq))
        };
        Ok(runs.unwrap_or_default().split(',').any(|run| holds(run) == Some(true)))
    }

    /// Keeps refused items of a batch in `dlq:ingest`, all or none: `None` = there is no room
    /// below `max`.
    ///
    /// # Errors
    /// Those of a script.
    pub async fn push_refused<E: AsRef<[u8]>>(&self, items: &[E], max: u64) -> Result<Option<u64>, RedisError> {
        let bytes = items.iter().map(|item| item.as_ref().len()).sum();
        let mut call = REFUSE.call_sized(&[&self.keys.dlq_ingest, &self.keys.totals], items.len() + 1, bytes);
        call.arg(max);
        for item in items {
            call.arg(item.as_ref());
        }
        let depth: i64 = self.redis.run_as(&call).await?;
        Ok(u64::try_from(depth).ok())
    }
}

async fn send_on(connection: &mut redis::aio::MultiplexedConnection, command: &Cmd) -> Result<Value, RedisError> {
    connection.send_packed_command(command).await.map_err(RedisError::sent).and_then(checked)
}

fn size<E: AsRef<[u8]>>(group: &[Request<'_, E>]) -> (usize, usize) {
    let elements = || group.iter().flat_map(|request| request.elements);
    (elements().count(), elements().map(|element| element.as_ref().len()).sum())
}
