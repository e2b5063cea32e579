//! Depths and ages of all pipelines' queues, read from Redis when somebody asks. Works on every replica, leader or not.

mod held;
mod pipeline;
mod watch;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use mutt_crds::pipeline::RedisSpec;
use mutt_queue::QueueState;

pub use held::Limits;
use pipeline::PipelineQueues;

use super::telemetry::QueueRead;
use crate::{
    rules::PipelineKey,
    runtime::{metrics::Metrics, scope::scopes},
};

/// Both queues of a pipeline at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Both queues, waiting and in processing.
    pub queues: [QueueState; 4],
    /// When it was read.
    pub at: Timestamp,
    taken: Instant,
}

impl Reading {
    /// How old it is.
    pub fn age(&self) -> Duration {
        self.taken.elapsed()
    }
}

/// Why queues cannot be told, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueuesError {
    /// There is no such pipeline.
    #[error("there is no MuttPipeline {0}")]
    Unknown(PipelineKey),
    /// The operator does not look at that namespace.
    #[error("this operator does not watch the namespace {0} (--watch-namespace)")]
    Unwatched(String),
    /// The pipelines are not known yet.
    #[error("the MuttPipelines have not been listed yet: {0}")]
    Unlisted(String),
    /// Redis is away longer than a value is held, or what leads there is wrong.
    #[error("the queues of pipeline {pipeline} cannot be read: {cause}")]
    Away {
        /// The pipeline.
        pipeline: PipelineKey,
        /// Why, with what to do.
        cause: String,
    },
}

/// The queues of all pipelines in the watched namespaces. Clones share it.
#[derive(Clone)]
pub struct Queues(Arc<Inner>);

struct Inner {
    client: Client,
    metrics: Arc<Metrics>,
    limits: Limits,
    /// Watched; empty = all.
    namespaces: Vec<String>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    pipelines: HashMap<PipelineKey, Arc<PipelineQueues>>,
    /// Watches that have not listed yet, with what they said last.
    unlisted: HashMap<Option<String>, String>,
}

impl Queues {
    /// Of the pipelines in `namespaces`, none = all. Nothing is known before [`Queues::keep`] runs.
    pub fn new(client: Client, metrics: Arc<Metrics>, namespaces: Vec<String>, limits: Limits) -> Self {
        let scopes = scopes(&namespaces);
        let unlisted = scopes.into_iter().map(|scope| (scope, "the watch has not begun".to_owned())).collect();
        let known = Mutex::new(Known { pipelines: HashMap::new(), unlisted });
        Self(Arc::new(Inner { client, metrics, limits, namespaces, known }))
    }

    /// Watches the pipelines for as long as it is polled.
    pub async fn keep(self) -> Result<(), Infallible> {
        watch::follow(&self).await;
        Ok(())
    }

    /// The queues of one pipeline: read now, at most a second ago, or, while Redis is away, at most [`Limits::hold`] ago.
    pub async fn read(&self, namespace: &str, pipeline: &str) -> Result<Arc<Reading>, QueuesError> {
        let key = PipelineKey::new(namespace, pipeline);
        self.listed(namespace)?;
        let known = self.lock().pipelines.get(&key).cloned();
        let queues = known.ok_or(QueuesError::Unknown(key))?;
        let answer = queues.read(&self.0.client, &self.0.limits).await;
        let outcome = match &answer {
            Ok((_, false)) => QueueRead::Ok,
            Ok((_, true)) => QueueRead::Stale,
            Err(_) => QueueRead::Error,
        };
        self.told(&queues, outcome, answer.as_ref().ok().map(|(reading, _)| reading.age()));
        let away = |cause| QueuesError::Away { pipeline: queues.key.clone(), cause };
        answer.map(|(reading, _)| reading).map_err(away)
    }

    /// Counts an answer. The lock is held, so that one that is deleted this moment gets no series again.
    fn told(&self, queues: &Arc<PipelineQueues>, outcome: QueueRead, age: Option<Duration>) {
        let known = self.lock();
        if known.pipelines.get(&queues.key).is_some_and(|now| Arc::ptr_eq(now, queues)) {
            self.0.metrics.queues.read(&queues.key, outcome, age);
        }
    }

    /// Names of the pipelines of a namespace, in order.
    pub fn pipelines_of(&self, namespace: &str) -> Result<Vec<String>, QueuesError> {
        self.listed(namespace)?;
        let known = self.lock();
        let mut names: Vec<String> =
            known.pipelines.keys().filter(|key| key.namespace == namespace).map(|key| key.name.clone()).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Whether all pipelines are known; else what is waited for.
    pub fn ready(&self) -> Result<(), String> {
        let known = self.lock();
        known.unlisted.values().next().map_or(Ok(()), |why| Err(format!("MuttPipelines are not listed yet: {why}")))
    }

    fn listed(&self, namespace: &str) -> Result<(), QueuesError> {
        let scope = if self.0.namespaces.is_empty() {
            None
        } else if self.0.namespaces.iter().any(|watched| watched == namespace) {
            Some(namespace.to_owned())
        } else {
            return Err(QueuesError::Unwatched(namespace.to_owned()));
        };
        self.lock().unlisted.get(&scope).map_or(Ok(()), |why| Err(QueuesError::Unlisted(why.clone())))
    }

    /// A pipeline is there. One that has not changed in what matters here keeps its connection and what was read.
    fn seen(&self, key: PipelineKey, uid: String, redis: Result<RedisSpec, String>) {
        let mut known = self.lock();
        let is_same = known.pipelines.get(&key).is_some_and(|before| before.uid == uid && before.redis == redis);
        if !is_same {
            let queues = PipelineQueues::new(key.clone(), uid, redis);
            known.pipelines.insert(key, Arc::new(queues));
        }
    }

    fn gone(&self, key: &PipelineKey) {
        let mut known = self.lock();
        known.pipelines.remove(key);
        self.0.metrics.queues.forget(key);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_watched_or_not_listed_yet_is_told_apart() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let queues = Queues::new(client, metrics, vec!["netops".to_owned(), "lab".to_owned()], Limits::default());
        let unwatched = QueuesError::Unwatched("default".to_owned());
        assert_eq!(queues.read("default", "core").await.unwrap_err(), unwatched);
        assert!(matches!(queues.read("netops", "core").await.unwrap_err(), QueuesError::Unlisted(_)));
        queues.lock().unlisted.remove(&Some("netops".to_owned()));
        let unknown = QueuesError::Unknown(PipelineKey::new("netops", "core"));
        assert_eq!(queues.read("netops", "core").await.unwrap_err(), unknown);
        assert!(queues.ready().is_err(), "lab is not listed yet");
        queues.lock().unlisted.clear();
        assert_eq!(queues.ready(), Ok(()));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_in_words_and_another_spec_forgets_what_was_read() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let queues = Queues::new(client, Arc::new(Metrics::new().unwrap()), Vec::new(), Limits::default());
        queues.lock().unlisted.clear();
        let key = PipelineKey::new("netops", "core");
        queues.seen(key.clone(), "1".to_owned(), Err("the object cannot be read: no redis".to_owned()));
        let error = queues.read("netops", "core").await.unwrap_err().to_string();
        assert_eq!(error, "the queues of pipeline netops/core cannot be read: the object cannot be read: no redis");
        let known = || queues.lock().pipelines[&key].clone();
        let first = known();
        queues.seen(key.clone(), "1".to_owned(), first.redis.clone());
        assert!(Arc::ptr_eq(&first, &known()), "nothing has changed");
        queues.seen(key.clone(), "2".to_owned(), first.redis.clone());
        assert!(!Arc::ptr_eq(&first, &known()), "another object of the same name");
        queues.gone(&key);
        assert_eq!(queues.read("netops", "core").await.unwrap_err(), QueuesError::Unknown(key));
    }
}
