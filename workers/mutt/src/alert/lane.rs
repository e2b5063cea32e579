//! One batch from its take to its finish. Several lanes run at once on the main thread, each with a connection to
//! PostgreSQL of its own, so that COPY, fsync, Redis and matching overlap.

use std::time::Instant;

use futures_util::future::join_all;
use mutt_queue::{Batch, Phase};

use super::crew::{Crew, GROUP_MAX};
use super::decide::Decisions;
use super::event::accepted_at;
use super::finish::finish;
use super::reason::{Reason, Rejected};
use super::second::describe;
use crate::audit::{AuditError, Entry, Outbox, Writer, Written};
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
    /// Decisions on the batch in hand; in a storm, on those that share a transaction.
    decisions: Vec<Decisions>,
}

/// What the finish of an audited batch owes, and whether this lane decided it.
struct Audited {
    outbox: Outbox,
    own: bool,
}

impl<'a> Lane<'a> {
    /// A lane that has processed nothing yet.
    pub(crate) fn new(crew: &'a Crew) -> Self {
        let decisions = (0..GROUP_MAX).map(|_| Decisions::default()).collect();
        Self { crew, writer: Writer::new(crew.pool.clone()), decisions }
    }

    /// Processes jobs until the end is asked for.
    pub(crate) async fn run(mut self) {
        while let Some(jobs) = self.crew.next_jobs().await {
            self.process_all(&jobs).await;
        }
        self.writer.close().await;
    }

    /// Several batches are written in one transaction, since each transaction costs PostgreSQL as much as a hundred
    /// rows. Whatever is in the way of that is dealt with batch by batch.
    async fn process_all(&mut self, jobs: &[Job]) {
        let audited = if jobs.len() > 1 { self.audit_together(jobs).await } else { None };
        match audited {
            Some(outboxes) => {
                let finishes = jobs.iter().zip(&outboxes).zip(&mut self.decisions).map(|((job, outbox), decisions)| {
                    let crew = self.crew;
                    let alerts = decisions.take_alerts();
                    let accepted = decisions.accepted();
                    async move {
                        let finished = finish(crew, job, outbox, Some(alerts), accepted).await;
                        over(crew, job, finished);
                    }
                });
                join_all(finishes).await;
            }
            None => {
                for job in jobs {
                    let processed = self.process(job, jobs.len() > 1).await;
                    over(self.crew, job, processed);
                }
            }
        }
    }

    async fn audit_together(&mut self, jobs: &[Job]) -> Option<Vec<Outbox>> {
        let active = self.crew.board.active.load_full()?;
        for (job, decisions) in jobs.iter().zip(&mut self.decisions) {
            let Batch { lease, elements } = &job.batch;
            decisions.decide(lease.batch, elements, &active, &self.crew.shared, self.crew.options).await;
        }
        let outboxes: Vec<Outbox> = jobs.iter().zip(&self.decisions).map(|(_, decisions)| decisions.outbox()).collect();
        let texts: Vec<String> = outboxes.iter().map(as_json).collect();
        let entries: Vec<Entry<'_>> = jobs
            .iter()
            .zip(&self.decisions)
            .zip(&texts)
            .map(|((job, decisions), outbox)| Entry { batch: job.batch.lease.batch, rows: decisions.rows(), outbox })
            .collect();
        let started = Instant::now();
        match self.writer.write(&entries).await {
            Ok(Written::Committed) => {
                self.crew.board.metrics.wrote(started.elapsed());
                Some(outboxes)
            }
            Ok(_) => None,
            Err(error) => {
                self.crew.board.postgres.down(reason(&error));
                None
            }
        }
    }

    async fn process(&mut self, job: &Job, look_first: bool) -> Result<(), Abandoned> {
        let Audited { outbox, own } = self.audit(job, look_first || job.successor).await?;
        if own {
            let alerts = self.decisions[0].take_alerts();
            return finish(self.crew, job, &outbox, Some(alerts), self.decisions[0].accepted()).await;
        }
        // Audited by another owner or before an answer was lost: no decisions were needed, so read the times again.
        let accepted: Vec<i64> = job.batch.elements.iter().filter_map(|element| accepted_at(element)).collect();
        finish(self.crew, job, &outbox, None, &accepted).await
    }

    /// Decides and audits the batch, however long PostgreSQL is away; returns what the finish owes.
    async fn audit(&mut self, job: &Job, mut look_first: bool) -> Result<Audited, Abandoned> {
        let batch = job.batch.lease.batch;
        let mut decided = false;
        let mut backoff = Backoff::new();
        let mut holding = None;
        loop {
            if look_first {
                match self.writer.stored(batch).await {
                    Ok(Some(text)) => return self.stored(job, &text, decided).await,
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
            let outbox = self.decisions[0].outbox();
            let text = as_json(&outbox);
            let started = Instant::now();
            match self.writer.write(&[Entry { batch, rows: self.decisions[0].rows(), outbox: &text }]).await {
                Ok(Written::Committed) => {
                    self.crew.board.metrics.wrote(started.elapsed());
                    self.crew.board.postgres.up();
                    return Ok(Audited { outbox, own: true });
                }
                Ok(Written::Already(text)) => return self.stored(job, &text, decided).await,
                Ok(Written::BadRows(bad)) => {
                    for (row, detail) in &bad {
                        tracing::warn!(%batch, row, detail, "postgresql refuses an event; it goes to the dead letter queue");
                    }
                    self.decisions[0].refuse_rows(&bad);
                }
                // Only for several batches.
                Ok(Written::Alone) => look_first = true,
                Err(error) => {
                    // The COMMIT may have happened: read the row before anything else.
                    look_first = true;
                    self.hold(job, &error, &mut backoff, &mut holding).await?;
                }
            }
        }
    }

    /// The stored outbox counts, whoever wrote it and whatever the rules say now.
    async fn stored(&mut self, job: &Job, text: &str, decided: bool) -> Result<Audited, Abandoned> {
        self.crew.board.postgres.up();
        match serde_json::from_str(text) {
            Ok(outbox) => Ok(Audited { outbox, own: false }),
            Err(error) => {
                // Written by another version: the audit stands, what follows is what this version decides.
                let batch = job.batch.lease.batch;
                tracing::error!(%batch, %error, "the stored outbox does not parse; own decisions are used");
                if !decided {
                    self.decide(job).await?;
                }
                Ok(Audited { outbox: self.decisions[0].outbox(), own: true })
            }
        }
    }

    /// Waits out a failure of PostgreSQL, with the lease in a phase that costs the batch no try.
    async fn hold(
        &self,
        job: &Job,
        error: &AuditError,
        backoff: &mut Backoff,
        holding: &mut Option<HoldGuard<'a>>,
    ) -> Result<(), Abandoned> {
        self.crew.board.postgres.down(reason(error));
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
        self.decisions[0].decide(batch, elements, &active, &crew.shared, crew.options).await;
        Ok(())
    }

    /// A batch over which workers died: the index of each element is on record before it is looked at, so that the
    /// guilty one is known if it kills this worker, too.
    async fn decide_one_at_a_time(&mut self, job: &Job, active: &Active) -> Result<(), Abandoned> {
        let lease = &job.batch.lease;
        let crew = self.crew;
        tracing::warn!(batch = %lease.batch, tries = job.tries, poisoned = ?job.poisoned, "batch is matched one event at a time");
        self.decisions[0].clear(job.batch.elements.len());
        for (index, element) in job.batch.elements.iter().enumerate() {
            if job.poisoned.contains(&index) {
                let detail =
                    format!("workers ended while this event was matched alone, after {} tries of its batch", job.tries);
                self.decisions[0]
                    .reject_next(Rejected { attempts: job.tries, ..Rejected::new(Reason::Poison, detail) });
                continue;
            }
            self.step(job, Some(index)).await?;
            self.decisions[0].decide_one(lease.batch, index, element, active, &crew.shared, crew.options);
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
}

/// A batch is over, or left to another worker.
fn over(crew: &Crew, job: &Job, result: Result<(), Abandoned>) {
    let lease = &job.batch.lease;
    if let Err(abandoned) = result {
        if matches!(abandoned, Abandoned::LostLease) {
            crew.board.metrics.leases_lost.inc();
        }
        let events = job.batch.elements.len();
        tracing::warn!(batch = %lease.batch, ?abandoned, events, "batch left to another worker");
    }
    crew.job_over(lease);
}

/// A struct of texts and numbers always has a JSON form.
fn as_json(outbox: &Outbox) -> String {
    serde_json::to_string(outbox).unwrap_or_default()
}

fn reason(error: &AuditError) -> String {
    match error {
        AuditError::Database(error) => describe(error),
        AuditError::Silent => error.to_string(),
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
