//! The forwarder's side of the alert queue: alerts are taken one by one, each under a lease of its
//! own, as the shared pause, breaker and rate limit allow; each is finished for itself.
//!
//! Where an alert lies: `alert_queue` → `processing:moog:<worker>:<lease>` (one element) with its lease
//! `<worker>|<lease>` in `leases:moog` → delivered, or `delayed:moog` (member `<lease>:<alert>`, so that
//! equal alerts stay apart), `refused:moog` (during a pause) or a DLQ. Each move is one script, so it is
//! always in exactly one place. A lease id is never reused: its presence is the fence.

use std::sync::Arc;
use std::time::Duration;

use crate::moog_reply::{FinishReply, TakeReply};
use crate::{BatchId, Call, Keys, Redis, RedisError, Role, Script, WorkerId};

pub use crate::moog_reply::{Breaker, BreakerState, Hold};

static TAKE: Script = Script::new(include_str!("lua/moog_take.lua"));
static FINISH: Script = Script::new(include_str!("lua/moog_finish.lua"));
static LAPSED: Script = Script::new(include_str!("lua/moog_lapsed.lua"));
static LEAVE: Script = Script::new(include_str!("lua/moog_leave.lua"));
static RETURN: Script = Script::new(include_str!("lua/moog_return.lua"));

/// Alerts in one answer: the script stays below 2 ms.
pub const TAKE_MAX: usize = 128;
/// Bytes in one answer, so that a forwarder's memory is bounded whatever the alerts' size.
pub const TAKE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Results in one call: nine arguments each, and scripts take no more than 2,000.
pub const FINISH_MAX: usize = 200;
/// Lapsed leases per call of the janitor.
const RETURN_MAX: usize = 100;
/// A probe whose sender died is given up this long after the webhook's time-out.
const PROBE_GRACE: Duration = Duration::from_secs(5);

/// The shared rate limit: `limit` alerts in every window of `period` over all forwarders; 0 = none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Alerts per period.
    pub limit: u64,
    /// Length of the window.
    pub period: Duration,
}

/// When the shared breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row over all forwarders; 0 = no breaker.
    pub threshold: u64,
    /// How long it stays open before a probe.
    pub timeout: Duration,
}

/// What a take depends on besides Redis' state.
#[derive(Debug, Clone)]
pub struct TakeTerms {
    /// Shared rate limit.
    pub rate: Rate,
    /// Shared breaker.
    pub breaker: BreakerPolicy,
    /// After this long another forwarder may take the alert over.
    pub lease: Duration,
    /// How long one POST may last.
    pub webhook_timeout: Duration,
    /// Stands for URL and key without telling them: a pause ends when it changes.
    pub fingerprint: String,
}

/// An alert taken, with what its result must tell the shared state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenAlert {
    /// Its lease.
    pub lease: BatchId,
    /// The queue's text.
    pub text: Vec<u8>,
    /// What it was granted under; goes back with the result.
    pub grant: Grant,
}

/// The state under which an alert was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    breaker_epoch: u64,
    pause_epoch: u64,
    flags: u64,
}

impl Grant {
    /// Whether this alert probes a half-open breaker.
    pub fn is_breaker_probe(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether this alert probes a pause.
    pub fn is_pause_probe(&self) -> bool {
        self.flags & 2 != 0
    }
}

/// The answer to a take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Alerts to be sent now.
    pub alerts: Vec<TakenAlert>,
    /// Why there are none.
    pub hold: Option<Hold>,
    /// When it is worth asking again; `None` = when something is pushed.
    pub wait: Option<Duration>,
    /// The shared breaker.
    pub breaker: Breaker,
    /// Length of the alert queue afterwards.
    pub depth: u64,
}

/// What a result says about the webhook's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Delivered: ends a row of failures.
    Good,
    /// Counts as a failure.
    Bad,
    /// Alive, but wants peace: neither counts nor ends a row.
    Busy,
    /// Neither.
    Neutral,
}

/// What becomes of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The webhook has it.
    Delivered,
    /// Waits for another attempt; `text` is the alert with its attempts counted.
    Delayed {
        /// The alert.
        text: Vec<u8>,
        /// How long.
        wait: Duration,
    },
    /// To `dlq:moog`, or to `dlq:dead` if it was replayed in vain before.
    DeadLetter {
        /// Envelope of CONTRACT section 2.
        envelope: Vec<u8>,
        /// Whether replays are used up.
        dead: bool,
    },
    /// Refused with 401, 403 or 404: the forwarders pause.
    Refused {
        /// See [`crate::envelope::refused_entry`].
        entry: Vec<u8>,
        /// Time until the next probe.
        probe_after: Duration,
        /// Of the URL and key that were refused.
        fingerprint: String,
    },
    /// Not sent: goes back to the queue's tail as it was.
    HandedBack,
}

/// One alert's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// Its lease.
    pub lease: BatchId,
    /// As it was granted.
    pub grant: Grant,
    /// What becomes of it.
    pub fate: Fate,
    /// What it says to the breaker.
    pub judgement: Judgement,
    /// What the receiver asked for, of [`Judgement::Busy`].
    pub busy_for: Duration,
}

/// The answer to a finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The shared breaker, with the states it entered by these results.
    pub breaker: Breaker,
    /// Whether the forwarders pause.
    pub paused: bool,
    /// Per result, whether the lease was still ours; where it was not, nothing happened.
    pub owned: Vec<bool>,
}

/// The alert queue as one forwarder sees it.
#[derive(Clone)]
pub struct MoogQueue {
    redis: Redis,
    keys: Arc<Keys>,
    worker: WorkerId,
}

impl MoogQueue {
    /// For one worker.
    pub fn new(redis: Redis, keys: Arc<Keys>, worker: WorkerId) -> Self {
        Self { redis, keys, worker }
    }

    fn lease_member(&self, lease: BatchId) -> String {
        format!("{}|{lease}", self.worker)
    }

    /// Takes at most one alert per id (at most [`TAKE_MAX`]). The ids are new ones; `repeat` says that a
    /// call with these same ids was sent before and its answer was lost: then what that took is given.
    /// `now` is written into dead letters.
    pub async fn take(&self, ids: &[BatchId], terms: &TakeTerms, now: &str, repeat: bool) -> Result<Taken, RedisError> {
        let ids = &ids[..ids.len().min(TAKE_MAX)];
        let call = self.take_call(ids, terms, now, repeat);
        let reply = TakeReply::parse(self.redis.run(&call).await?).ok_or_else(|| RedisError::shape("moog_take"))?;
        let grant =
            Grant { breaker_epoch: reply.breaker_epoch, pause_epoch: reply.pause_epoch, flags: reply.probe_flags };
        let alerts = ids.iter().zip(reply.bodies).map(|(lease, text)| TakenAlert { lease: *lease, text, grant });
        Ok(Taken {
            alerts: alerts.collect(),
            hold: reply.hold,
            wait: reply.wait,
            breaker: reply.breaker,
            depth: reply.depth,
        })
    }

    fn take_call(&self, ids: &[BatchId], terms: &TakeTerms, now: &str, repeat: bool) -> Call {
        let keys = &*self.keys;
        let breaker = BreakerKeys::new(keys);
        let tat = format!("{}:tat", keys.rate_limit_moog);
        let lists: Vec<String> = ids.iter().map(|id| keys.processing(Role::Moog, &self.worker, id)).collect();
        let mut names: Vec<&str> = vec![
            &keys.alert_queue,
            &keys.leases_moog,
            &keys.delayed_moog,
            &keys.refused_moog,
            &keys.pause_moog,
            &keys.rate_limit_moog,
            &tat,
            &breaker.state,
            &breaker.failures,
            &breaker.opened_at,
            &breaker.epoch,
            &breaker.probe,
            &keys.dlq_moog,
            &keys.totals,
        ];
        names.extend(lists.iter().map(String::as_str));
        let mut call = TAKE.call_sized(&names, ids.len() + 10, ids.len() * 96 + 256);
        call.arg(u8::from(repeat))
            .arg(TAKE_BYTES_MAX)
            .arg(terms.lease.as_millis() as u64)
            .arg(terms.rate.limit)
            .arg(terms.rate.period.as_micros() as u64)
            .arg(terms.breaker.threshold)
            .arg(terms.breaker.timeout.as_millis() as u64)
            .arg((terms.webhook_timeout + PROBE_GRACE).as_millis() as u64)
            .arg(terms.fingerprint.as_str())
            .arg(now);
        for id in ids {
            call.arg(self.lease_member(*id));
        }
        call
    }

    /// Ends at most [`FINISH_MAX`] leases, each for itself. Repeating a call whose answer was lost is safe:
    /// what it ended is no longer owned, and nothing happens twice.
    pub async fn finish(&self, results: &[Finish], policy: BreakerPolicy) -> Result<Finished, RedisError> {
        let results = &results[..results.len().min(FINISH_MAX)];
        let call = self.finish_call(results, policy);
        let reply = FinishReply::parse(self.redis.run(&call).await?).ok_or_else(|| RedisError::shape("moog_finish"))?;
        Ok(Finished { breaker: reply.breaker, paused: reply.paused, owned: reply.owned })
    }

    fn finish_call(&self, results: &[Finish], policy: BreakerPolicy) -> Call {
        let keys = &*self.keys;
        let breaker = BreakerKeys::new(keys);
        let lists: Vec<String> =
            results.iter().map(|result| keys.processing(Role::Moog, &self.worker, &result.lease)).collect();
        let mut names: Vec<&str> = vec![
            &keys.alert_queue,
            &keys.leases_moog,
            &keys.delayed_moog,
            &keys.refused_moog,
            &keys.pause_moog,
            &keys.dlq_moog,
            &keys.dlq_dead,
            &keys.totals,
            &breaker.state,
            &breaker.failures,
            &breaker.opened_at,
            &breaker.epoch,
            &breaker.probe,
        ];
        names.extend(lists.iter().map(String::as_str));
        let mut call = FINISH.call_sized(&names, results.len() * 9 + 1, results.len() * 160);
        call.arg(policy.threshold);
        for result in results {
            let (what, text, ms, fingerprint) = fate_arguments(result);
            call.arg(self.lease_member(result.lease))
                .arg(what)
                .arg(judgement_word(result.judgement))
                .arg(result.grant.breaker_epoch)
                .arg(result.grant.pause_epoch)
                .arg(result.grant.flags)
                .arg(text)
                .arg(ms.as_millis() as u64)
                .arg(fingerprint);
        }
        call
    }

    /// At a forwarder's end: whatever is still leased to it lapses now, that too of takes whose answers it never saw.
    /// Returns how much that was.
    pub async fn leave(&self) -> Result<usize, RedisError> {
        let mut call = LEAVE.call(&[&self.keys.leases_moog]);
        call.arg(format!("{}|", self.worker));
        self.redis.run_as(&call).await
    }

    /// The janitor: alerts whose forwarder let the lease lapse go back to the queue's tail. Returns how
    /// many; call again at once while that is not 0.
    pub async fn return_lapsed(&self) -> Result<usize, RedisError> {
        let mut look = LAPSED.call(&[&self.keys.leases_moog]);
        look.arg(RETURN_MAX);
        let members: Vec<String> = self.redis.run_as(&look).await?;
        if members.is_empty() {
            return Ok(0);
        }
        self.redis.run_as(&self.return_call(&members)).await
    }

    fn return_call(&self, members: &[String]) -> Call {
        let lists: Vec<String> = members
            .iter()
            .map(|member| {
                let (worker, lease) = member.rsplit_once('|').unwrap_or((member, ""));
                format!("{}:{worker}:{lease}", self.keys.processing_moog)
            })
            .collect();
        let mut names: Vec<&str> = vec![&self.keys.alert_queue, &self.keys.leases_moog];
        names.extend(lists.iter().map(String::as_str));
        let mut call = RETURN.call(&names);
        for member in members {
            call.arg(member);
        }
        call
    }

    /// Alerts in flight over all forwarders.
    pub async fn in_flight(&self) -> Result<u64, RedisError> {
        self.redis.query(redis::cmd("ZCARD").arg(&self.keys.leases_moog)).await
    }

    /// Length of `dlq:moog`.
    pub async fn dlq_depth(&self) -> Result<u64, RedisError> {
        self.redis.query(redis::cmd("LLEN").arg(&self.keys.dlq_moog)).await
    }
}

/// The keys of the shared breaker.
struct BreakerKeys {
    state: String,
    failures: String,
    opened_at: String,
    epoch: String,
    probe: String,
}

impl BreakerKeys {
    fn new(keys: &Keys) -> Self {
        let key = |part| keys.breaker(part);
        Self {
            state: key("state"),
            failures: key("failures"),
            opened_at: key("opened_at"),
            epoch: key("epoch"),
            probe: key("probe"),
        }
    }
}

fn judgement_word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Good => "good",
        Judgement::Bad => "bad",
        Judgement::Busy => "busy",
        Judgement::Neutral => "none",
    }
}

/// What, text, ms and fingerprint of a result, as moog_finish.lua takes them.
fn fate_arguments(result: &Finish) -> (&'static str, &[u8], Duration, &str) {
    match &result.fate {
        Fate::Delivered => ("delivered", b"", result.busy_for, ""),
        Fate::Delayed { text, wait } => ("delayed", text, *wait, ""),
        Fate::DeadLetter { envelope, dead: false } => ("dlq", envelope, result.busy_for, ""),
        Fate::DeadLetter { envelope, dead: true } => ("dead", envelope, result.busy_for, ""),
        Fate::Refused { entry, probe_after, fingerprint } => ("refused", entry, *probe_after, fingerprint),
        Fate::HandedBack => ("back", b"", result.busy_for, ""),
    }
}
