//! The queues of one pipeline: its connection to Redis, and what was read last.

use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use mutt_crds::pipeline::RedisSpec;
use mutt_queue::Totals;
use tokio::{sync::Mutex, time::timeout};

use super::{
    Reading,
    held::{Answer, Held, Limits},
};
use crate::rules::{
    PipelineKey,
    redis::{Connection, Trouble, login},
};

/// One pipeline as its object says it is; another spec makes another of these, so that nothing read elsewhere is held.
pub(super) struct PipelineQueues {
    pub(super) key: PipelineKey,
    pub(super) uid: String,
    /// `Err` = the object cannot be read, in words.
    pub(super) redis: Result<RedisSpec, String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Held,
    connection: Option<Connection>,
    /// When the Secrets were read for the connection.
    logged_in: Option<Instant>,
}

impl PipelineQueues {
    pub(super) fn new(key: PipelineKey, uid: String, redis: Result<RedisSpec, String>) -> Self {
        Self { key, uid, redis, state: Mutex::default() }
    }

    /// The queues now. Who asks while another reads waits for that reading.
    pub(super) async fn read(&self, client: &Client, limits: &Limits) -> Answer {
        let spec = self.redis.as_ref().map_err(Clone::clone)?;
        let mut state = self.state.lock().await;
        if let Some(answer) = state.held.fresh(Instant::now(), limits) {
            return answer;
        }
        let began = Instant::now();
        let read = timeout(limits.read, state.totals(client, &self.key.namespace, spec, limits)).await;
        match read {
            Ok(Ok(totals)) => {
                if state.held.has_failed() {
                    tracing::info!(pipeline = %self.key, "queues are read again");
                }
                state.held.succeeded(Reading { queues: totals.queues(), at: Timestamp::now(), taken: began });
            }
            Ok(Err(trouble)) => self.failed(&mut state, &trouble.to_string()),
            Err(_) => {
                let place = state.connection.as_ref().map_or_else(|| "its Secrets".to_owned(), Connection::name);
                self.failed(&mut state, &format!("{place}: no answer within {:?}", limits.read));
            }
        }
        state.held.answer(Instant::now(), limits)
    }

    fn failed(&self, state: &mut State, cause: &str) {
        if state.held.failed(Instant::now(), cause.to_owned()) {
            tracing::warn!(pipeline = %self.key, cause, "queues cannot be read; what was read last is held for a while");
        }
    }
}

impl State {
    /// Reads Redis; after a failure the Secrets are looked at again, since a new password may be the cure.
    async fn totals(
        &mut self,
        client: &Client,
        namespace: &str,
        spec: &RedisSpec,
        limits: &Limits,
    ) -> Result<Totals, Trouble> {
        let is_old = self.logged_in.is_none_or(|at| at.elapsed() >= limits.login);
        if is_old || self.held.has_failed() {
            self.log_in(client, namespace, spec, limits).await?;
        }
        let Some(connection) = &self.connection else {
            return Err(Trouble::Redis("there is no connection".to_owned()));
        };
        let error = match Totals::read(&connection.redis, &connection.keys).await {
            Ok(totals) => return Ok(totals),
            Err(error) => error,
        };
        let trouble = connection.trouble(&error);
        if !Connection::is_refused(&error) || !self.log_in(client, namespace, spec, limits).await? {
            return Err(trouble);
        }
        let Some(connection) = &self.connection else { return Err(trouble) };
        Totals::read(&connection.redis, &connection.keys).await.map_err(|error| connection.trouble(&error))
    }

    /// Makes the connection that the Secrets ask for; says whether that is another one. Secrets that cannot be read leave
    /// the connection that is there.
    async fn log_in(
        &mut self,
        client: &Client,
        namespace: &str,
        spec: &RedisSpec,
        limits: &Limits,
    ) -> Result<bool, Trouble> {
        let late = |_| Err(Trouble::Cluster("the API server does not answer what the Secrets say".to_owned()));
        let login = match timeout(limits.login_read, login(client, namespace, spec)).await.unwrap_or_else(late) {
            Ok(login) => login,
            Err(trouble) if self.connection.is_none() => return Err(trouble),
            Err(trouble) => {
                tracing::debug!(%trouble, "the login that was read last is used");
                return Ok(false);
            }
        };
        self.logged_in = Some(Instant::now());
        if self.connection.as_ref().is_some_and(|connection| connection.fits(spec, &login)) {
            return Ok(false);
        }
        self.connection = Some(Connection::new(spec, login)?);
        Ok(true)
    }
}
