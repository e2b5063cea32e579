//! Batches under a lease: take, renew, change of phase, hand back.
//!
//! A lease is a member `batch:fence:worker` of a sorted set, scored by its end in ms of Redis'
//! clock; a hash beside it keeps the batch's phase, its tries, and the element in hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::connection::Redis;
use crate::error::RedisError;
use crate::ids::{BatchId, Fence, WorkerId};
use crate::keys::{Keys, Role};
use crate::script::Script;

static TAKE: Script = Script::new(include_str!("lua/take.lua"));
static RENEW: Script = Script::new(include_str!("lua/renew.lua"));
static STATE: Script = Script::new(include_str!("lua/state.lua"));

/// Most elements of one take: keeps the script below 2 ms.
pub const TAKE_COUNT_MAX: usize = 500;
/// Most bytes of one take (a single larger element is taken alone).
pub const TAKE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The right to one batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The batch.
    pub batch: BatchId,
    /// Which owner this is.
    pub fence: Fence,
    /// The owner.
    pub worker: WorkerId,
}

impl Lease {
    /// The member of the sorted set.
    pub fn member(&self) -> String {
        format!("{}:{}:{}", self.batch, self.fence, self.worker)
    }

    /// Reads a member; `None` if it is none of ours.
    pub fn parse(member: &str) -> Option<Self> {
        let mut parts = member.splitn(3, ':');
        let batch = parts.next()?.parse().ok()?;
        let fence = Fence(parts.next()?.parse().ok()?);
        let worker = WorkerId::named(parts.next()?);
        Some(Self { batch, fence, worker })
    }
}

/// What a worker does with a batch, which decides what a lapse of its lease means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// At work: a lapse may be the batch's own fault and counts as a try.
    Matching,
    /// Waiting for an outage to end: a lapse says nothing about the batch.
    Holding,
}

impl Phase {
    fn letter(self) -> &'static str {
        match self {
            Self::Matching => "m",
            Self::Holding => "h",
        }
    }
}

/// Bounds of one take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakeLimits {
    /// Most elements, at most [`TAKE_COUNT_MAX`].
    pub count_max: usize,
    /// Most bytes, at most [`TAKE_BYTES_MAX`].
    pub bytes_max: usize,
    /// Take nothing if fewer wait (for a further batch beside one in flight).
    pub count_min: usize,
}

impl Default for TakeLimits {
    fn default() -> Self {
        Self { count_max: TAKE_COUNT_MAX, bytes_max: TAKE_BYTES_MAX, count_min: 1 }
    }
}

/// A batch in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The right to it.
    pub lease: Lease,
    /// Its elements, the oldest first; the same list for every owner.
    pub elements: Vec<Bytes>,
}

/// The answer to a take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What was taken, if anything.
    pub batch: Option<Batch>,
    /// How many elements are left in the queue.
    pub depth: u64,
    /// The current revision of the rules, as far as one is set.
    pub revision: Option<String>,
}

/// One worker's view of its role's leases. Cheap to clone; the renewing thread makes its own from
/// its own [`Redis`].
#[derive(Clone)]
pub struct Leases {
    pub(crate) redis: Redis,
    pub(crate) keys: Arc<Keys>,
    pub(crate) role: Role,
    pub(crate) worker: WorkerId,
    pub(crate) length: Duration,
}

impl Leases {
    /// `length` is how long a lease lasts without being renewed (ALERTER_JANITOR_TIMEOUT).
    pub fn new(redis: Redis, keys: Arc<Keys>, role: Role, worker: WorkerId, length: Duration) -> Self {
        Self { redis, keys, role, worker, length }
    }

    /// The worker that these leases belong to.
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// The list of a batch in flight.
    pub fn list(&self, lease: &Lease) -> String {
        self.keys.processing(self.role, &lease.worker, &lease.batch)
    }

    /// Takes a batch under a new id, which the caller never uses for another take.
    ///
    /// # Errors
    /// Those of a script. After `Unknown` the caller goes on with [`Leases::retake`].
    pub async fn take(&self, batch: BatchId, limits: TakeLimits) -> Result<Taken, RedisError> {
        self.take_script(batch, limits, false).await
    }

    /// Asks for the result of a take whose answer was lost: the same list, or nothing if it never
    /// happened (then the next take needs a new id).
    ///
    /// # Errors
    /// Those of a script.
    pub async fn retake(&self, batch: BatchId) -> Result<Taken, RedisError> {
        self.take_script(batch, TakeLimits::default(), true).await
    }

    async fn take_script(&self, batch: BatchId, limits: TakeLimits, repeat: bool) -> Result<Taken, RedisError> {
        let lease = Lease { batch, fence: Fence::FIRST, worker: self.worker.clone() };
        let mut call = TAKE.call(&[
            self.keys.queue(self.role),
            &self.list(&lease),
            self.keys.leases(self.role),
            self.keys.lease_state(self.role),
            &self.keys.rules_current,
        ]);
        call.arg(lease.member())
            .arg(batch.to_string())
            .arg(self.length_ms())
            .arg(limits.count_max.min(TAKE_COUNT_MAX))
            .arg(limits.bytes_max.min(TAKE_BYTES_MAX))
            .arg(limits.count_min)
            .arg(u8::from(repeat));
        let (status, elements, depth, revision): (u8, Vec<Vec<u8>>, u64, Option<String>) =
            self.redis.run_as(&call).await?;
        let batch = (status == 1).then(|| Batch { lease, elements: into_bytes(elements) });
        Ok(Taken { batch, depth, revision })
    }

    /// Lengthens leases; says for each, in order, whether it is still held.
    ///
    /// # Errors
    /// Those of a script.
    pub async fn renew(&self, leases: &[Lease]) -> Result<Vec<bool>, RedisError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = RENEW.call(&[self.keys.leases(self.role)]);
        call.arg(self.length_ms());
        for lease in leases {
            call.arg(lease.member());
        }
        let held: Vec<u8> = self.redis.run_as(&call).await?;
        Ok(held.into_iter().map(|one| one == 1).collect())
    }

    /// Changes the phase of a batch and renews its lease; false = the lease is lost.
    ///
    /// # Errors
    /// Those of a script.
    pub async fn set_phase(&self, lease: &Lease, phase: Phase) -> Result<bool, RedisError> {
        self.state_script(lease, self.length_ms(), phase, None).await
    }

    /// Notes which element is about to be matched alone (`None` = no single one any more); false =
    /// the lease is lost. If it lapses now, that element is named in [`crate::Recovered`].
    ///
    /// # Errors
    /// Those of a script.
    pub async fn set_step(&self, lease: &Lease, index: Option<usize>) -> Result<bool, RedisError> {
        self.state_script(lease, self.length_ms(), Phase::Matching, index).await
    }

    /// Gives a batch back at the worker's end: its lease lapses now, it costs no try, and the next
    /// janitor takes it over as it is, under the same id.
    ///
    /// # Errors
    /// Those of a script.
    pub async fn hand_back(&self, lease: &Lease) -> Result<bool, RedisError> {
        self.state_script(lease, -1, Phase::Holding, None).await
    }

    /// All leases of this worker, those too of takes and takeovers whose answers it never saw.
    ///
    /// # Errors
    /// Those of a command.
    pub async fn own(&self) -> Result<Vec<Lease>, RedisError> {
        let members: Vec<String> =
            self.redis.query(redis::cmd("ZRANGE").arg(self.keys.leases(self.role)).arg(0).arg(-1)).await?;
        let leases = members.iter().filter_map(|member| Lease::parse(member));
        Ok(leases.filter(|lease| lease.worker == self.worker).collect())
    }

    async fn state_script(
        &self,
        lease: &Lease,
        length_ms: i64,
        phase: Phase,
        index: Option<usize>,
    ) -> Result<bool, RedisError> {
        let mut call = STATE.call(&[self.keys.leases(self.role), self.keys.lease_state(self.role)]);
        call.arg(lease.member())
            .arg(lease.batch.to_string())
            .arg(length_ms)
            .arg(phase.letter())
            .arg(index.map(|i| i.to_string()).unwrap_or_default());
        self.redis.run_as::<u8>(&call).await.map(|held| held == 1)
    }

    pub(crate) fn length_ms(&self) -> i64 {
        self.length.as_millis().try_into().unwrap_or(i64::MAX)
    }
}

pub(crate) fn into_bytes(elements: Vec<Vec<u8>>) -> Vec<Bytes> {
    elements.into_iter().map(Bytes::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_names_batch_fence_and_worker() {
        let lease = Lease { batch: BatchId::new(), fence: Fence(3), worker: WorkerId::named("pod:1-ab") };
        assert_eq!(Lease::parse(&lease.member()), Some(lease));
        assert_eq!(Lease::parse("something:else"), None);
    }
}
