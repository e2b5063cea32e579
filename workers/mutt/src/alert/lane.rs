//! One batch from its take to its finish. Several lanes run at once on the main thread, each with a connection to
//! PostgreSQL of its own, so that COPY, fsync, Redis and matching overlap.

use std::collections::BTreeMap;
use std::time::Instant;

use mutt_queue::{Batch, Finished, Json, Phase, RedisError};

use super::crew::Crew;
use super::decide::Decisions;
use super::outgoing::{meta_alert, queue_outbox};
use super::reason::{Reason, Rejected};
use super::second::describe;
use crate::audit::{AuditError, Outbox, Writer, Written};
use crate::rulesource::Active;
use crate::worker::Backoff;

/// A batch to be processed.
pub(crate) struct Job {
    /// The elements and the right to them.
    pub batch: Batch,
    /// How often workers died over it while matching; 0 for one taken from the queue.
    pub tries: u32,
    /// Elements that are known to kill workers.
    pub poisoned: Vec<usize>,
    /// Whether another owner may have audited it.
    pub successor: bool,
    /// When it was taken.
    pub taken: Instant,
}

/// Why a batch is left to others.
#[derive(Debug)]
pub(crate) enum Abandoned {
    /// Another worker has it.
    LostLease,
    /// This worker ends; the lease was handed back or lapses.
    Ending,
}

/// The memory and the connection of one lane.
pub(crate) struct Lane<'a> {
    crew: &'a Crew,
    writer: Writer,
    decisions: Decisions,
}

impl<'a> Lane<'a> {
    /// A lane that has processed nothing yet.
    pub(crate) fn new(crew: &'a Crew) -> Self {
        Self { crew, writer: Writer::new(crew.pool.clone()), decisions: Decisions::default() }
    }

    /// Processes jobs until the end is asked for.
    pub(crate) async fn run(mut self) {
        while let Some(job) = self.crew.next_job().await {
            let lease = job.batch.lease.clone();
            if let Err(abandoned) = self.process(&job).await {
                if matches!(abandoned, Abandoned::LostLease) {
                    self.crew.board.metrics.leases_lost.inc();
                }
                tracing::warn!(batch = %lease.batch, ?abandoned, events = job.batch.elements.len(), "batch left to another worker");
            }
            self.crew.job_over(&lease);
        }
        self.writer.close().await;
    }

    async fn process(&mut self, job: &Job) -> Result<(), Abandoned> {
        let outbox = self.audit(job).await?;
        self.finish(job, &outbox).await
    }

    /// Decides and audits the batch, however long PostgreSQL is away; returns what the finish owes.
    async fn audit(&mut self, job: &Job) -> Result<Outbox, Abandoned> {
        let batch = job.batch.lease.batch;
        let mut look_first = job.successor;
        let mut decided = false;
        let mut backoff = Backoff::new();
        let mut holding = None;
        loop {
            if look_first {
                match self.writer.stored(batch).await {
                    Ok(Some(text)) => return Ok(self.stored_outbox(job, &text)),
                    Ok(None) => look_first = false,
                    Err(error) => {
                        self.hold(job, &error, &mut backoff, &mut holding).await?;
                        continue;
                    }
                }
            }
            if !decided {
                self.decide(job).await?;
                decided = true;
            }
            let outbox = self.decisions.outbox();
            // A struct of texts and numbers always has a JSON form.
            let text = serde_json::to_string(&outbox).unwrap_or_default();
            let started = Instant::now();
            match self.writer.write(batch, self.decisions.rows(), &text).await {
                Ok(Written::Committed) => {
                    self.crew.board.metrics.wrote(started.elapsed());
                    self.crew.board.postgres.up();
                    return Ok(outbox);
                }
                Ok(Written::Already(text)) => return Ok(self.stored_outbox(job, &text)),
                Ok(Written::BadRows(bad)) => {
                    for (row, detail) in &bad {
                        tracing::warn!(%batch, row, detail, "postgresql refuses an event; it goes to the dead letter queue");
                    }
                    self.decisions.refuse_rows(&bad);
                }
                Err(error) => {
                    // The COMMIT may have happened: read the row before anything else.
                    look_first = true;
                    self.hold(job, &error, &mut backoff, &mut holding).await?;
                }
            }
        }
    }

    fn stored_outbox(&self, job: &Job, text: &str) -> Outbox {
        self.crew.board.postgres.up();
        serde_json::from_str(text).unwrap_or_else(|error| {
            // Written by another version: the audit stands, what follows is what this version decides.
            tracing::error!(batch = %job.batch.lease.batch, %error, "the stored outbox does not parse; own decisions are used");
            self.decisions.outbox()
        })
    }

    /// Waits out a failure of PostgreSQL, with the lease in a phase that costs the batch no try.
    async fn hold(
        &self,
        job: &Job,
        error: &AuditError,
        backoff: &mut Backoff,
        holding: &mut Option<HoldGuard<'a>>,
    ) -> Result<(), Abandoned> {
        let reason = match error {
            AuditError::Database(error) => describe(error),
            AuditError::Silent => error.to_string(),
        };
        self.crew.board.postgres.down(reason);
        let lease = &job.batch.lease;
        if holding.is_none() {
            *holding = Some(self.crew.holding());
            if let Ok(false) = self.crew.leases.set_phase(lease, Phase::Holding).await {
                return Err(Abandoned::LostLease);
            }
        }
        self.pause(job, backoff).await
    }

    /// A growing pause; ends early, and the batch with it, when the worker ends or has lost it.
    async fn pause(&self, job: &Job, backoff: &mut Backoff) -> Result<(), Abandoned> {
        let lease = &job.batch.lease;
        tokio::select! {
            () = backoff.wait() => {}
            () = self.crew.shutdown.requested() => {
                // An outage may outlast any deadline; whoever comes next finds the batch as it is.
                drop(self.crew.leases.hand_back(lease).await);
                return Err(Abandoned::Ending);
            }
        }
        if self.crew.board.is_held(lease) { Ok(()) } else { Err(Abandoned::LostLease) }
    }

    async fn decide(&mut self, job: &Job) -> Result<(), Abandoned> {
        let active = self.active_rules(job).await?;
        let elements = &job.batch.elements;
        let batch = job.batch.lease.batch;
        let crew = self.crew;
        if job.tries >= crew.tries_max {
            return self.decide_one_at_a_time(job, &active).await;
        }
        self.decisions.decide(batch, elements, &active, &crew.shared, crew.options).await;
        Ok(())
    }

    /// A batch over which workers died: the index of each element is on record before it is looked at, so that the
    /// guilty one is known if it kills this worker, too.
    async fn decide_one_at_a_time(&mut self, job: &Job, active: &Active) -> Result<(), Abandoned> {
        let lease = &job.batch.lease;
        let crew = self.crew;
        tracing::warn!(batch = %lease.batch, tries = job.tries, poisoned = ?job.poisoned, "batch is matched one event at a time");
        self.decisions.clear(job.batch.elements.len());
        for (index, element) in job.batch.elements.iter().enumerate() {
            if job.poisoned.contains(&index) {
                let detail =
                    format!("workers ended while this event was matched alone, after {} tries of its batch", job.tries);
                self.decisions.reject_next(Rejected { attempts: job.tries, ..Rejected::new(Reason::Poison, detail) });
                continue;
            }
            self.step(job, Some(index)).await?;
            self.decisions.decide_one(lease.batch, index, element, active, &crew.shared, crew.options);
        }
        self.step(job, None).await
    }

    async fn step(&self, job: &Job, index: Option<usize>) -> Result<(), Abandoned> {
        let mut backoff = Backoff::new();
        loop {
            match self.crew.leases.set_step(&job.batch.lease, index).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Abandoned::LostLease),
                Err(error) => {
                    self.crew.board.redis.down(error);
                    self.pause(job, &mut backoff).await?;
                }
            }
        }
    }

    /// The rule set in use; a job is only taken while there is one, so this waits for nothing but a race.
    async fn active_rules(&self, job: &Job) -> Result<std::sync::Arc<Active>, Abandoned> {
        let mut backoff = Backoff::new();
        loop {
            if let Some(active) = self.crew.board.active.load_full() {
                return Ok(active);
            }
            self.pause(job, &mut backoff).await?;
        }
    }

    async fn finish(&self, job: &Job, outbox: &Outbox) -> Result<(), Abandoned> {
        let crew = self.crew;
        let Batch { lease, elements } = &job.batch;
        let limits = crew.limits.get();
        let made = match queue_outbox(lease.batch, elements, outbox) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(batch = %lease.batch, %error, "the alerts of a batch cannot be written");
                return Err(Abandoned::LostLease);
            }
        };
        let mut metas: BTreeMap<usize, Json> = BTreeMap::new();
        let mut backoff = Backoff::new();
        let mut holding = None;
        loop {
            match crew.leases.finish(lease, &made, limits, &metas).await {
                Ok(Finished::Done { alert_depth, meta_alerts }) => {
                    crew.alert_depth.set(alert_depth);
                    crew.board.metrics.finished(outbox, meta_alerts, elements.len(), job.taken.elapsed());
                    return Ok(());
                }
                // Only after an answer that was lost: this worker did it.
                Ok(Finished::AlreadyDone) => {
                    crew.board.metrics.finished(outbox, metas.len() as u64, elements.len(), job.taken.elapsed());
                    return Ok(());
                }
                Ok(Finished::LostLease) => return Err(Abandoned::LostLease),
                Ok(Finished::MetaWanted(wanted)) => {
                    for wanted in wanted {
                        let Some(group) = made.unhandled.get(wanted.group) else { continue };
                        let team = crew.team_of(&group.host);
                        if let Ok(alert) = meta_alert(lease.batch, elements, wanted, group, limits, &team) {
                            metas.insert(wanted.group, alert);
                        }
                    }
                }
                Err(error) => {
                    self.hold_finish(error, &mut holding);
                    self.pause_finish(job, &mut backoff).await?;
                }
            }
        }
    }

    fn hold_finish(&self, error: RedisError, holding: &mut Option<HoldGuard<'a>>) {
        self.crew.board.redis.down(error);
        holding.get_or_insert_with(|| self.crew.holding());
    }

    /// The audit is committed, so the finish is tried until the worker must be gone.
    async fn pause_finish(&self, job: &Job, backoff: &mut Backoff) -> Result<(), Abandoned> {
        backoff.wait().await;
        if self.crew.shutdown.is_requested() {
            drop(self.crew.leases.hand_back(&job.batch.lease).await);
            return Err(Abandoned::Ending);
        }
        Ok(())
    }
}

/// While it lives, the worker takes nothing more.
pub(crate) struct HoldGuard<'a> {
    crew: &'a Crew,
}

impl<'a> HoldGuard<'a> {
    pub(super) fn new(crew: &'a Crew) -> Self {
        crew.held_batches.set(crew.held_batches.get() + 1);
        crew.board.metrics.holding.set(crew.held_batches.get());
        Self { crew }
    }
}

impl Drop for HoldGuard<'_> {
    fn drop(&mut self) {
        self.crew.held_batches.set(self.crew.held_batches.get() - 1);
        self.crew.board.metrics.holding.set(self.crew.held_batches.get());
    }
}
