//! One self-healing multiplexed connection per runtime thread.
//!
//! Made lazily, shared by all clones, remade by whoever needs it first after a loss. Before a new
//! connection is used, Redis is told to kill the lost one: what was sent on it can then not be
//! executed later, so a look at the keys afterwards is final.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, PushInfo, PushKind, Value};
use tokio::time::Instant;

use crate::connect::{self, ClientToken, RedisSettings};
use crate::dedicated::Dedicated;
use crate::error::{RedisError, checked};
use crate::script::Call;

/// First pause after a failed attempt to connect.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause: an outage must end for us within a second of its end for Redis.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A handle on Redis. Clones share one connection, which belongs to the tokio runtime that made
/// it: each runtime makes its own `Redis` from the same [`RedisSettings`].
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RedisSettings,
    state: Mutex<State>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    generation: u64,
    failures: u32,
    closed_until: Option<Instant>,
    last_error: Option<RedisError>,
    doomed: Vec<ClientToken>,
}

/// One established connection.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) generation: u64,
    closed: Arc<AtomicBool>,
    token: Option<ClientToken>,
}

impl Redis {
    /// A handle; nothing is connected before the first command.
    pub fn new(settings: RedisSettings) -> Self {
        let inner = Inner { settings, state: Mutex::default(), connecting: tokio::sync::Mutex::new(()) };
        Self { inner: Arc::new(inner) }
    }

    /// The settings that this handle was made from.
    pub fn settings(&self) -> &RedisSettings {
        &self.inner.settings
    }

    /// Sends one command and converts its answer.
    ///
    /// # Errors
    /// See [`RedisError::kind`]; commands are never repeated here.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let value = self.command(command).await?;
        T::from_redis_value(value).map_err(|_| RedisError::shape("command"))
    }

    /// Sends one command; the answer is never an error value.
    pub async fn command(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut live = self.live().await?;
        let result = live.connection.send_packed_command(command).await;
        self.judge(&live, result.map_err(RedisError::sent).and_then(checked))
    }

    /// Sends a pipeline and converts its answers; with `atomic()` it is one MULTI/EXEC.
    pub async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, RedisError> {
        let mut live = self.live().await?;
        let result = pipeline.query_async(&mut live.connection).await;
        self.judge(&live, result.map_err(RedisError::sent))
    }

    /// Runs a script; one that Redis does not know yet is loaded first.
    pub async fn run(&self, call: &Call) -> Result<Value, RedisError> {
        match self.command(call.command()).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.command(&call.load()).await?;
                self.command(call.command()).await
            }
            result => result,
        }
    }

    /// Runs a script and converts its answer.
    pub async fn run_as<T: FromRedisValue>(&self, call: &Call) -> Result<T, RedisError> {
        let value = self.run(call).await?;
        T::from_redis_value(value).map_err(|_| RedisError::shape("script"))
    }

    /// `PING`.
    pub async fn ping(&self) -> Result<(), RedisError> {
        self.query::<String>(&redis::cmd("PING")).await.map(drop)
    }

    /// A connection of its own for blocking commands.
    pub fn dedicated(&self) -> Dedicated {
        Dedicated::new(self.inner.settings.clone())
    }

    /// The connection, made now if there is none.
    pub(crate) async fn live(&self) -> Result<Live, RedisError> {
        if let Some(live) = self.state().current() {
            return Ok(live);
        }
        let _single_flight = self.inner.connecting.lock().await;
        let doomed = {
            let mut state = self.state();
            if let Some(live) = state.current() {
                return Ok(live);
            }
            state.still_closed()?;
            state.lose_any();
            state.doomed.clone()
        };
        let closed = Arc::new(AtomicBool::new(false));
        let opened = connect::open(&self.inner.settings, watch(closed.clone()), &doomed).await;
        let mut state = self.state();
        match opened {
            Ok((connection, token)) => Ok(state.established(connection, token, closed, doomed.len())),
            Err(error) => Err(state.failed(error)),
        }
    }

    /// Drops the connection after an error that says it is broken or leads to the wrong server.
    pub(crate) fn judge<T>(&self, live: &Live, result: Result<T, RedisError>) -> Result<T, RedisError> {
        if let Err(error) = &result
            && error.wants_reconnect()
        {
            let mut state = self.state();
            if state.live.as_ref().is_some_and(|current| current.generation == live.generation) {
                tracing::debug!(%error, "redis connection given up");
                state.lose_any();
            }
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The connection unless it is known to be closed.
    fn current(&self) -> Option<Live> {
        self.live.as_ref().filter(|live| !live.closed.load(Ordering::Acquire)).cloned()
    }

    /// During a pause after a failure everybody fails at once with that failure.
    fn still_closed(&self) -> Result<(), RedisError> {
        match (&self.closed_until, &self.last_error) {
            (Some(until), Some(error)) if Instant::now() < *until => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Forgets the connection and notes it to be killed at the server.
    fn lose_any(&mut self) {
        if let Some(token) = self.live.take().and_then(|live| live.token) {
            self.doomed.push(token);
        }
    }

    fn established(
        &mut self,
        connection: MultiplexedConnection,
        token: Option<ClientToken>,
        closed: Arc<AtomicBool>,
        killed: usize,
    ) -> Live {
        if self.failures > 0 {
            tracing::info!(attempts = self.failures + 1, "redis connected again");
        }
        self.generation += 1;
        self.failures = 0;
        self.closed_until = None;
        self.doomed.drain(..killed);
        let live = Live { connection, generation: self.generation, closed, token };
        self.live = Some(live.clone());
        live
    }

    fn failed(&mut self, error: RedisError) -> RedisError {
        if self.failures == 0 {
            tracing::warn!(%error, "redis is away");
        }
        self.closed_until = Some(Instant::now() + backoff(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(error.clone());
        error
    }
}

/// Exponential with equal jitter: half fixed, half random.
pub(crate) fn backoff(failures: u32) -> Duration {
    let full = BACKOFF_MIN.saturating_mul(1 << failures.min(10)).min(BACKOFF_MAX);
    full / 2 + full.mul_f64(fastrand::f64() / 2.0)
}

/// Sets `closed` as soon as the library sees the end of the connection.
fn watch(closed: Arc<AtomicBool>) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static {
    move |info| {
        if info.kind == PushKind::Disconnection {
            closed.store(true, Ordering::Release);
        }
        Ok(())
    }
}
