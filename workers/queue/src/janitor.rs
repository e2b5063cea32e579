//! Takes over batches whose lease lapsed: whole, each exactly once, under a new fence.

use redis::Value;

use crate::error::RedisError;
use crate::lease::{Batch, Lease, Leases, into_bytes};
use crate::script::Script;

static LAPSED: Script = Script::new(include_str!("lua/lapsed.lua"));
static TAKEOVER: Script = Script::new(include_str!("lua/takeover.lua"));

/// Lapses in matching after which a batch is matched one element at a time.
pub const TRIES_MAX: u32 = 3;

/// A batch taken over from a worker that let it lapse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The batch under its new lease; id and elements are those of the first take.
    pub batch: Batch,
    /// How often it lapsed in [`crate::Phase::Matching`].
    pub tries: u32,
    /// Indexes of elements during whose matching alone the batch lapsed: they go to the DLQ with
    /// the batch's finish, in the order in which they were named.
    pub poisoned: Vec<usize>,
}

impl Recovered {
    /// True if its elements are to be matched one at a time, each index written first with
    /// [`Leases::set_step`], and `set_step(None)` before the audit.
    pub fn single_step(&self) -> bool {
        self.tries >= TRIES_MAX
    }
}

/// What became of one lapsed lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takeover {
    /// It is ours now.
    Ours(Recovered),
    /// Somebody else was first, or its owner renewed it after all.
    NotOurs,
    /// Its list is gone: Redis lost what it had acknowledged. The lease is dropped.
    Gone,
}

impl Leases {
    /// Lapsed leases of this role, the longest lapsed first.
    ///
    /// # Errors
    /// Those of a script.
    pub async fn lapsed(&self, count_max: usize) -> Result<Vec<Lease>, RedisError> {
        let mut call = LAPSED.call(&[self.keys.leases(self.role)]);
        call.arg(count_max);
        let members: Vec<String> = self.redis.run_as(&call).await?;
        Ok(members.iter().filter_map(|member| Lease::parse(member)).collect())
    }

    /// Takes over one lapsed batch. After `Unknown` the same call again gives the same answer.
    ///
    /// # Errors
    /// Those of a script.
    pub async fn take_over(&self, lapsed: &Lease) -> Result<Takeover, RedisError> {
        let lease = Lease { batch: lapsed.batch, fence: lapsed.fence.next(), worker: self.worker.clone() };
        let mut call = TAKEOVER.call(&[
            self.keys.leases(self.role),
            self.keys.lease_state(self.role),
            &self.list(lapsed),
            &self.list(&lease),
        ]);
        call.arg(lapsed.member()).arg(lease.member()).arg(lapsed.batch.to_string()).arg(self.length_ms());
        let (status, elements, state): (u8, Vec<Vec<u8>>, Value) = self.redis.run_as(&call).await?;
        Ok(match status {
            1 => {
                let (tries, poisoned) = parse_state(&state);
                let batch = Batch { lease, elements: into_bytes(elements) };
                Takeover::Ours(Recovered { batch, tries, poisoned })
            }
            2 => Takeover::Gone,
            _ => Takeover::NotOurs,
        })
    }

    /// One round of the janitor: takes over up to `count_max` lapsed batches.
    ///
    /// # Errors
    /// Those of a script; what was taken over before the error is lost to the caller and lapses
    /// again, so a caller that wants all of it uses [`Leases::lapsed`] and [`Leases::take_over`].
    pub async fn recover(&self, count_max: usize) -> Result<Vec<Recovered>, RedisError> {
        let mut recovered = Vec::new();
        for lapsed in self.lapsed(count_max).await? {
            match self.take_over(&lapsed).await? {
                Takeover::Ours(one) => recovered.push(one),
                Takeover::NotOurs => {}
                Takeover::Gone => tracing::error!(batch = %lapsed.batch, "a leased batch is gone from redis"),
            }
        }
        Ok(recovered)
    }
}

/// `phase|tries|index|poisoned,poisoned…`
fn parse_state(state: &Value) -> (u32, Vec<usize>) {
    let text = match state {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    };
    let mut parts = text.split('|').skip(1);
    let tries = parts.next().and_then(|tries| tries.parse().ok()).unwrap_or(0);
    let poisoned = parts.nth(1).unwrap_or_default();
    (tries, poisoned.split(',').filter_map(|index| index.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_state_of_a_batch() {
        let read = |text: &str| parse_state(&Value::BulkString(text.as_bytes().to_vec()));
        assert_eq!(read("m|0||"), (0, vec![]));
        assert_eq!(read("m|5||7,0"), (5, vec![7, 0]));
        assert_eq!(parse_state(&Value::Nil), (0, vec![]));
    }
}
