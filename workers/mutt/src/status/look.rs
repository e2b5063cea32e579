//! One look at everything that Redis knows of a pipeline.

use mutt_queue::served_rules::Served;
use mutt_queue::{Keys, MoogState, Redis, RedisError, Totals};
use tokio::time::Instant;

/// What Redis said at one moment.
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) totals: Totals,
    pub(super) served: Served,
    pub(super) moog: MoogState,
}

impl Look {
    /// Three scripts, one after the other: only each for itself is of one moment.
    pub(super) async fn take(redis: &Redis, keys: &Keys) -> Result<Self, RedisError> {
        let served = Served::read(redis, keys, "").await?;
        let moog = MoogState::read(redis, keys).await?;
        let totals = Totals::read(redis, keys).await?;
        Ok(Self { at: Instant::now(), totals, served, moog })
    }
}
