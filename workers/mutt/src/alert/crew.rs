//! The lanes' common ground on the main thread: who takes next, when to wait, what is held.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mutt_queue::{
    BatchId, Doorbell, Keys, Lease, Leases, Redis, TAKE_COUNT_MAX, TakeLimits, Taken, UnhandledLimits, totals,
};
use sqlx::PgPool;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;

use super::board::Board;
use super::decide::{Options, Shared};
use super::lane::{HoldGuard, Job};
use crate::worker::{Backoff, Shutdown};

/// An idle worker looks at its surroundings this often at least.
const DOORBELL: Duration = Duration::from_secs(1);
/// While a batch is in flight and the queue holds less than a full one: how long until the next look.
const BUSY_LOOK: Duration = Duration::from_millis(5);
/// While nothing may be taken.
const BLOCKED_LOOK: Duration = Duration::from_millis(100);
/// How often a worker that defers looks whether the alert queue has shrunk.
const DEFER_LOOK: Duration = Duration::from_secs(1);
/// Batches that share a transaction while the queue holds full ones: at 2,000 rows its cost is a twentieth of theirs.
pub(super) const GROUP_MAX: usize = 4;
/// Bytes of elements from which on no further batch joins.
const GROUP_BYTES: usize = 1024 * 1024;
/// A batch's elements, its rows and its alerts are in memory at once, for each lane.
const TAKE_BYTES: usize = 2 * 1024 * 1024;

/// State of the main thread, shared by its lanes and tasks.
pub(crate) struct Crew {
    /// Shared with the second thread.
    pub board: Arc<Board>,
    /// The main thread's connection.
    pub redis: Redis,
    /// Names.
    pub keys: Arc<Keys>,
    /// Takes, phases, finishes.
    pub leases: Leases,
    /// A connection per lane.
    pub pool: PgPool,
    /// The matcher's memory and the signatures.
    pub shared: Shared,
    /// AUDIT_SCOPE and UNHANDLED_SIGNATURE.
    pub options: Options,
    /// Threshold and time of meta-alerts, as set at run time.
    pub limits: Cell<UnhandledLimits>,
    /// Team of hosts without one.
    pub default_team: String,
    /// Lapses after which a batch is matched one event at a time.
    pub tries_max: u32,
    /// Alerts in the queue above which nothing is taken.
    pub shed_threshold: u64,
    /// Length of the alert queue when last seen.
    pub alert_depth: Cell<u64>,
    /// Batches that wait for an outage to end.
    pub held_batches: Cell<i64>,
    /// The end.
    pub shutdown: Shutdown,
    doorbell: Mutex<Doorbell>,
    recovered: RefCell<VecDeque<Job>>,
    in_flight: Cell<usize>,
    changed: Notify,
}

/// What a crew is made from, besides what starts empty.
pub(crate) struct CrewParts {
    /// See [`Crew::board`].
    pub board: Arc<Board>,
    /// See [`Crew::redis`].
    pub redis: Redis,
    /// See [`Crew::keys`].
    pub keys: Arc<Keys>,
    /// See [`Crew::leases`].
    pub leases: Leases,
    /// See [`Crew::pool`].
    pub pool: PgPool,
    /// See [`Crew::shutdown`].
    pub shutdown: Shutdown,
}

impl Crew {
    /// A crew with nothing in flight.
    pub(crate) fn new(parts: CrewParts, settings: &crate::settings::AlerterSettings) -> Self {
        let CrewParts { board, redis, keys, leases, pool, shutdown } = parts;
        let started = board.started;
        Self {
            doorbell: Mutex::new(Doorbell::new(&redis, keys.ingest_queue.clone())),
            board,
            redis,
            keys,
            leases,
            pool,
            shutdown,
            shared: Shared::new(started),
            options: Options::from_settings(settings),
            limits: Cell::new(super::live::limits(settings)),
            default_team: settings.unhandled_default_team.clone(),
            tries_max: settings.max_retries,
            shed_threshold: settings.shed_threshold,
            alert_depth: Cell::new(0),
            held_batches: Cell::new(0),
            recovered: RefCell::default(),
            in_flight: Cell::new(0),
            changed: Notify::new(),
        }
    }

    /// The next batches for a lane, one as a rule; `None` when the worker ends. One lane at a time looks, the others
    /// queue behind it.
    pub(crate) async fn next_jobs(&self) -> Option<Vec<Job>> {
        let mut doorbell = tokio::select! {
            biased;
            () = self.shutdown.requested() => return None,
            doorbell = self.doorbell.lock() => doorbell,
        };
        let mut backoff = Backoff::new();
        while !self.shutdown.is_requested() {
            if let Some(job) = self.recovered.borrow_mut().pop_front() {
                self.in_flight.set(self.in_flight.get() + 1);
                return Some(vec![job]);
            }
            if !self.may_take().await {
                continue;
            }
            let busy = self.in_flight.get() > 0;
            // Never cancelled: what it took would lapse, and count as a try.
            match self.take(if busy { TAKE_COUNT_MAX } else { 1 }).await {
                Ok(Some((job, depth))) => return Some(self.join_more(job, depth).await),
                Ok(None) => backoff.reset(),
                Err(error) => {
                    self.board.redis.down(error);
                    backoff.wait().await;
                    continue;
                }
            }
            // A lone event rings at once; beside a batch in flight, events gather to a full one or until that is done.
            tokio::select! {
                () = self.shutdown.requested() => {}
                () = self.changed.notified() => {}
                () = sleep(BUSY_LOOK), if busy => {}
                rang = doorbell.wait(DOORBELL), if !busy => {
                    if let Err(error) = rang {
                        self.board.redis.down(error);
                        backoff.wait().await;
                    }
                }
            }
        }
        None
    }

    /// Whether the surroundings allow to take anything; waits a little if not.
    async fn may_take(&self) -> bool {
        let board = &self.board;
        let ready = board.active.load().is_some() && board.redis.is_up() && board.postgres.is_up();
        if !ready || self.held_batches.get() > 0 {
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep(BLOCKED_LOOK) => {}
            }
            return false;
        }
        if self.alert_depth.get() <= self.shed_threshold {
            return true;
        }
        if board.metrics.deferring.get() == 0 {
            tracing::warn!(
                alerts = self.alert_depth.get(),
                threshold = self.shed_threshold,
                "the alert queue is too long; nothing is taken"
            );
            board.metrics.deferring.set(1);
        }
        sleep(DEFER_LOOK).await;
        if let Ok(depth) = totals::depth(&self.redis, &self.keys.alert_queue).await {
            self.alert_depth.set(depth);
        }
        if self.alert_depth.get() <= self.shed_threshold {
            board.metrics.deferring.set(0);
        }
        false
    }

    /// Takes more full batches to go with the first, while there are any and nothing else waits.
    async fn join_more(&self, first: Job, mut depth: u64) -> Vec<Job> {
        let size = |job: &Job| job.batch.elements.iter().map(bytes::Bytes::len).sum::<usize>();
        let mut bytes = size(&first);
        let mut jobs = vec![first];
        while jobs.len() < GROUP_MAX && depth >= TAKE_COUNT_MAX as u64 && bytes < GROUP_BYTES {
            match self.take(TAKE_COUNT_MAX).await {
                Ok(Some((job, left))) => {
                    depth = left;
                    bytes += size(&job);
                    jobs.push(job);
                }
                Ok(None) => break,
                Err(error) => {
                    self.board.redis.down(error);
                    break;
                }
            }
        }
        jobs
    }

    /// A batch of at least `count_min` elements, if there is one, and how many are left.
    async fn take(&self, count_min: usize) -> Result<Option<(Job, u64)>, mutt_queue::RedisError> {
        let id = BatchId::new();
        let limits = TakeLimits { count_min, bytes_max: TAKE_BYTES, ..TakeLimits::default() };
        let mut answer = self.leases.take(id, limits).await;
        if answer.as_ref().is_err_and(mutt_queue::RedisError::is_unknown) {
            answer = Ok(self.retake(id).await);
        }
        let Taken { batch, revision, depth } = answer?;
        if let Some(revision) = revision
            && self.board.active.load().as_ref().is_some_and(|active| active.revision.as_str() != revision)
        {
            self.board.triggers.compare();
        }
        Ok(batch.map(|batch| {
            self.board.hold(&batch.lease);
            self.in_flight.set(self.in_flight.get() + 1);
            (Job { batch, tries: 0, poisoned: Vec::new(), successor: false, taken: Instant::now() }, depth)
        }))
    }

    /// A take that may have happened: nothing else is taken until that is known.
    async fn retake(&self, id: BatchId) -> Taken {
        let mut backoff = Backoff::new();
        loop {
            match self.leases.retake(id).await {
                Ok(taken) => return taken,
                Err(error) => self.board.redis.down(error),
            }
            backoff.wait().await;
        }
    }

    /// A batch that the janitor took over.
    pub(crate) fn recover(&self, job: Job) {
        self.board.hold(&job.batch.lease);
        self.board.metrics.taken_over.inc();
        self.recovered.borrow_mut().push_back(job);
        self.changed.notify_one();
    }

    /// Taken-over batches that wait for a lane.
    pub(crate) fn recovered_waiting(&self) -> usize {
        self.recovered.borrow().len()
    }

    /// A lane is done with its batch, one way or the other.
    pub(crate) fn job_over(&self, lease: &Lease) {
        self.board.release(lease);
        self.in_flight.set(self.in_flight.get() - 1);
        self.changed.notify_one();
    }

    /// Stops further takes while the guard lives.
    pub(crate) fn holding(&self) -> HoldGuard<'_> {
        HoldGuard::new(self)
    }

    /// Team for a meta-alert about a host.
    pub(crate) fn team_of(&self, host: &str) -> String {
        let active = self.board.active.load_full();
        let team = active.as_ref().and_then(|active| active.compiled.team_of(host));
        team.unwrap_or(&self.default_team).to_owned()
    }
}
