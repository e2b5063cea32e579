//! The forwarder's loop: take what may be sent now, post it, finish one by one.
//!
//! One take, one finish call and up to `concurrency` POSTs are under way at a time. Results that come in
//! while a finish call is under way go together in the next one.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mutt_queue::moog::{
    BreakerPolicy, BreakerState, FINISH_MAX, Fate, Finish, Finished, Grant, Hold, Judgement, MoogQueue, TAKE_MAX,
    TakeTerms, Taken,
};
use mutt_queue::{BatchId, RedisError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::server::Dependency;

use super::Retries;
use super::client::WebhookClient;
use super::delivery::{Credentials, deliver, timestamp};
use super::live::Live;
use super::metrics::Metrics;
use super::verdict::Reason;

/// Asked again after this long whatever the last answer said: settings, keys and other forwarders change.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A lone alert should not wait for the names of 64 leases; a full answer doubles what is asked for.
const TAKE_MIN: usize = 4;
/// Bytes of alerts in flight above which no more are taken, whatever the concurrency.
const BYTES_IN_FLIGHT_MAX: usize = 8 * 1024 * 1024;
/// Between attempts while Redis is away.
const REDIS_RETRY: Duration = Duration::from_millis(200);
/// The part of the time for shutting down that is kept to give back what is not finished.
const HAND_BACK_SHARE: u32 = 3;

type Running<T> = Option<Pin<Box<dyn Future<Output = T>>>>;

/// What does not change while a forwarder runs.
pub(crate) struct Setup {
    /// The alert queue.
    pub(crate) queue: MoogQueue,
    /// The webhook.
    pub(crate) client: WebhookClient,
    /// Attempts and waits.
    pub(crate) retries: Retries,
    /// POSTs in flight.
    pub(crate) concurrency: usize,
    /// A lease's length.
    pub(crate) lease: Duration,
    /// One POST's time limit.
    pub(crate) webhook_timeout: Duration,
    /// Metrics.
    pub(crate) metrics: Metrics,
    /// Told when a command to Redis fails.
    pub(crate) redis: Dependency,
    /// Key and URL of the moment, read for each request.
    pub(crate) credentials: Box<dyn Fn() -> Credentials + Send + Sync>,
}

/// The bell of the alert queue, waited for by a task of its own.
#[derive(Clone, Default)]
pub(crate) struct Bell {
    /// Told to wait for an alert.
    pub(crate) armed: Arc<Notify>,
    /// An alert is there, or it is time to look.
    pub(crate) rung: Arc<Notify>,
}

/// When to ask for alerts again.
#[derive(Clone, Copy)]
struct Pause {
    hold: Option<Hold>,
    until: Instant,
}

/// The loop's state.
pub(crate) struct Engine {
    setup: Arc<Setup>,
    live: watch::Receiver<Live>,
    bell: Bell,
    posts: FuturesUnordered<Pin<Box<dyn Future<Output = Finish>>>>,
    /// Granted and not yet ended, with their size.
    in_flight: HashMap<BatchId, (Grant, usize)>,
    bytes_in_flight: usize,
    results: Vec<Finish>,
    finishing: Running<(Vec<Finish>, Finished)>,
    taking: Running<(Vec<BatchId>, Result<Taken, RedisError>)>,
    /// Ids of a take whose answer was lost.
    repeat: Option<Vec<BatchId>>,
    pause: Option<Pause>,
    want: usize,
    stopping: bool,
}

impl Engine {
    /// A loop that is not running yet.
    pub(crate) fn new(setup: Setup, live: watch::Receiver<Live>, bell: Bell) -> Self {
        Self {
            setup: Arc::new(setup),
            live,
            bell,
            posts: FuturesUnordered::new(),
            in_flight: HashMap::new(),
            bytes_in_flight: 0,
            results: Vec::new(),
            finishing: None,
            taking: None,
            repeat: None,
            pause: None,
            want: TAKE_MIN,
            stopping: false,
        }
    }

    /// Runs until `stop`, then ends what is in flight within `drain` and gives the rest back. `tick` is
    /// called on each turn.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>, drain: Duration, tick: impl Fn()) {
        let mut stop = std::pin::pin!(stop);
        let mut deadline = None;
        loop {
            tick();
            self.start_finish();
            self.start_take();
            if self.stopping && self.is_idle() {
                return;
            }
            let wake =
                deadline.unwrap_or_else(|| self.pause.map_or_else(|| Instant::now() + ASK_AGAIN, |pause| pause.until));
            tokio::select! {
                Some(result) = self.posts.next(), if !self.posts.is_empty() => self.results.push(result),
                (batch, finished) = running(&mut self.finishing), if self.finishing.is_some() => self.finished(&batch, &finished),
                (ids, taken) = running(&mut self.taking), if self.taking.is_some() => self.taken(ids, taken),
                () = self.bell.rung.notified(), if !self.stopping => self.pause = None,
                () = &mut stop, if !self.stopping => {
                    self.stopping = true;
                    deadline = Some(Instant::now() + drain - drain / HAND_BACK_SHARE);
                }
                () = tokio::time::sleep_until(wake) => {
                    self.pause = None;
                    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        break;
                    }
                }
            }
        }
        self.give_back(drain / HAND_BACK_SHARE).await;
    }

    fn is_idle(&self) -> bool {
        self.posts.is_empty() && self.results.is_empty() && self.finishing.is_none() && self.taking.is_none()
    }

    fn start_take(&mut self) {
        if self.taking.is_some() || self.stopping || self.pause.is_some_and(|pause| pause.until > Instant::now()) {
            return;
        }
        self.pause = None;
        // Counts what is not finished yet, so that a Redis that is away bounds what is held here.
        let free = self.setup.concurrency.saturating_sub(self.in_flight.len()).min(TAKE_MAX);
        if free < self.setup.concurrency.div_ceil(4) || self.bytes_in_flight > BYTES_IN_FLIGHT_MAX {
            return;
        }
        let repeat = self.repeat.take();
        let is_repeat = repeat.is_some();
        let ids = repeat.unwrap_or_else(|| (0..free.min(self.want)).map(|_| BatchId::new()).collect());
        let terms = self.terms();
        let setup = self.setup.clone();
        self.taking = Some(Box::pin(async move {
            let taken = setup.queue.take(&ids, &terms, &timestamp(), is_repeat).await;
            (ids, taken)
        }));
    }

    fn terms(&self) -> TakeTerms {
        let live = *self.live.borrow();
        TakeTerms {
            rate: live.rate,
            breaker: live.breaker,
            lease: self.setup.lease,
            webhook_timeout: self.setup.webhook_timeout,
            fingerprint: (self.setup.credentials)().fingerprint,
        }
    }

    fn taken(&mut self, ids: Vec<BatchId>, taken: Result<Taken, RedisError>) {
        self.taking = None;
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                if error.is_unknown() {
                    self.repeat = Some(ids);
                }
                self.setup.redis.down(error);
                self.pause = Some(Pause { hold: None, until: Instant::now() + REDIS_RETRY });
                return;
            }
        };
        self.note(&taken);
        self.want = if taken.alerts.len() == ids.len() { self.want.saturating_mul(2).min(TAKE_MAX) } else { TAKE_MIN };
        for alert in taken.alerts {
            self.in_flight.insert(alert.lease, (alert.grant, alert.text.len()));
            self.bytes_in_flight += alert.text.len();
            if self.stopping {
                self.results.push(handed_back(alert.lease, alert.grant));
                continue;
            }
            let setup = self.setup.clone();
            self.posts.push(Box::pin(async move {
                deliver(alert, &setup.client, (setup.credentials)(), &setup.retries, &setup.metrics).await
            }));
        }
        if let Some(hold) = taken.hold {
            let wait = taken.wait.unwrap_or(ASK_AGAIN).min(ASK_AGAIN);
            self.pause = Some(Pause { hold: Some(hold), until: Instant::now() + wait });
            if hold == Hold::Empty {
                self.bell.armed.notify_one();
            }
        }
    }

    fn note(&self, taken: &Taken) {
        let metrics = &self.setup.metrics;
        metrics.breaker(&taken.breaker);
        metrics.queue_depth.set(taken.depth as i64);
        match taken.hold {
            Some(Hold::Limited) => metrics.rate_limit_hits.inc(),
            Some(Hold::Open | Hold::Probing) => metrics.request(Reason::CircuitOpen),
            _ => {}
        }
        let paused = taken.hold == Some(Hold::Paused) || taken.alerts.iter().any(|alert| alert.grant.is_pause_probe());
        metrics.paused.set(i64::from(paused));
    }

    fn start_finish(&mut self) {
        if self.finishing.is_some() || self.results.is_empty() {
            return;
        }
        let batch: Vec<Finish> = self.results.drain(..self.results.len().min(FINISH_MAX)).collect();
        let setup = self.setup.clone();
        let live = self.live.clone();
        self.finishing = Some(Box::pin(async move {
            loop {
                let policy: BreakerPolicy = live.borrow().breaker;
                match setup.queue.finish(&batch, policy).await {
                    Ok(finished) => return (batch, finished),
                    Err(error) => {
                        setup.redis.down(error);
                        tokio::time::sleep(REDIS_RETRY).await;
                    }
                }
            }
        }));
    }

    fn finished(&mut self, batch: &[Finish], finished: &Finished) {
        self.finishing = None;
        self.setup.metrics.breaker(&finished.breaker);
        for state in &finished.breaker.entered {
            match state {
                BreakerState::Open => tracing::error!(failures = finished.breaker.failures, "circuit breaker open"),
                BreakerState::HalfOpen => tracing::info!("circuit breaker half-open"),
                BreakerState::Closed => tracing::info!("circuit breaker closed"),
            }
        }
        let mut delivered = false;
        for (result, owned) in batch.iter().zip(&finished.owned) {
            if let Some((_, bytes)) = self.in_flight.remove(&result.lease) {
                self.bytes_in_flight -= bytes;
            }
            if !owned {
                tracing::warn!(lease = %result.lease, "lease had lapsed: the alert will be sent again under the same external_id");
            }
            match &result.fate {
                Fate::Delivered => delivered = true,
                Fate::Delayed { wait, .. } => self.look_after(*wait),
                Fate::Refused { .. } => {
                    self.setup.metrics.paused.set(i64::from(finished.paused));
                    tracing::error!("the webhook refuses key or URL: paused; nothing is dropped");
                }
                Fate::DeadLetter { .. } | Fate::HandedBack => {}
            }
        }
        // A probe that came through opens the way for all: ask at once.
        let held = self.pause.and_then(|pause| pause.hold);
        if delivered && matches!(held, Some(Hold::Open | Hold::Probing | Hold::Paused)) {
            self.pause = None;
        }
    }

    /// Makes sure that a retry is looked for when it is due.
    fn look_after(&mut self, wait: Duration) {
        if let Some(pause) = &mut self.pause {
            pause.until = pause.until.min(Instant::now() + wait);
        }
    }

    /// At the deadline: what is still in flight goes back to the queue; it may reach the webhook twice, under
    /// the same external_id.
    async fn give_back(mut self, limit: Duration) {
        let known: Vec<BatchId> = self.results.iter().map(|result| result.lease).collect();
        let ended = self.finishing.take();
        self.posts.clear();
        for (lease, (grant, _)) in &self.in_flight {
            if !known.contains(lease) {
                self.results.push(handed_back(*lease, *grant));
            }
        }
        let policy = self.live.borrow().breaker;
        let finish = async {
            // What it ends is no longer owned when it is handed back below.
            if let Some(ended) = ended {
                ended.await;
            }
            for batch in self.results.chunks(FINISH_MAX) {
                if let Err(error) = self.setup.queue.finish(batch, policy).await {
                    tracing::warn!(%error, alerts = batch.len(), "alerts not given back; their leases will lapse");
                }
            }
        };
        if tokio::time::timeout(limit, finish).await.is_err() {
            tracing::warn!(alerts = self.in_flight.len(), "alerts not given back in time; their leases will lapse");
        }
    }
}

fn handed_back(lease: BatchId, grant: Grant) -> Finish {
    Finish { lease, grant, fate: Fate::HandedBack, judgement: Judgement::Neutral, busy_for: Duration::ZERO }
}

async fn running<T>(future: &mut Running<T>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
