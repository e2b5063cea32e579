//! What a worker says about the rules it uses, and the wait until all alerters use a revision.

use std::time::Duration;

use mutt_queue::served_rules::{self, Ack, AckError, Acks, Served};
use mutt_queue::{Keys, Redis, RedisError, WorkerId};
use mutt_rules::Revision;
use tokio::time::Instant;

/// Errors that an entry names; the worker's log has all.
const ERRORS_MAX: usize = 20;
/// Pause between looks at the acknowledgements.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Says which revision a worker uses.
pub(super) async fn acknowledge(
    redis: &Redis,
    keys: &Keys,
    worker: &WorkerId,
    active: &super::Active,
) -> Result<(), RedisError> {
    let errors = active.errors.iter().take(ERRORS_MAX);
    let ack = Ack {
        revision: active.revision.to_string(),
        rules: active.compiled.rules().len(),
        errors: errors
            .map(|error| AckError {
                rule: error.rule.clone(),
                reason: error.reason.clone(),
                last_good_in_use: error.last_good_in_use,
            })
            .collect(),
    };
    served_rules::acknowledge(redis, keys, worker, &ack).await
}

/// Waits until every live alerter uses `revision`, at most for `limit`; what is known then is returned either way.
///
/// # Errors
/// Those of a command.
pub(crate) async fn wait_active(
    redis: &Redis,
    keys: &Keys,
    revision: &Revision,
    limit: Duration,
) -> Result<Acks, RedisError> {
    let deadline = Instant::now() + limit;
    loop {
        let acks = Served::read(redis, keys, revision.as_str()).await?.acks_of(revision.as_str());
        if acks.all_active() || Instant::now() >= deadline {
            return Ok(acks);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
