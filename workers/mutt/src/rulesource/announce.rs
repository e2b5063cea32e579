//! The revision that workers should have, in Redis.

use mutt_queue::{Keys, Redis, RedisError};
use mutt_rules::Revision;
use sqlx::PgPool;

use super::RuleSourceError;

/// Makes `revision` the current one and tells all workers: sets `rules:current` and publishes it on both channels.
///
/// # Errors
/// Those of a command.
pub(crate) async fn announce(redis: &Redis, keys: &Keys, revision: &Revision) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("SET").arg(&keys.rules_current).arg(revision.as_str()).ignore();
    for channel in keys.reload_channels() {
        pipe.cmd("PUBLISH").arg(channel).arg(revision.as_str()).ignore();
    }
    redis.pipeline::<()>(&pipe).await
}

/// Reads the tables as they are now, announces their revision and returns it: what whoever changed a rule in
/// PostgreSQL does after its COMMIT.
///
/// # Errors
/// When PostgreSQL or Redis does not answer; workers then see the change by themselves within a second or two.
pub(crate) async fn announce_change(pool: &PgPool, redis: &Redis, keys: &Keys) -> Result<Revision, RuleSourceError> {
    let loaded = super::postgres::load(pool).await?;
    announce(redis, keys, &loaded.revision).await?;
    Ok(loaded.revision)
}

/// The revision that Redis names.
///
/// # Errors
/// Those of a command.
pub(super) async fn current(redis: &Redis, keys: &Keys) -> Result<Option<String>, RedisError> {
    let current: Option<String> = redis.query(redis::cmd("GET").arg(&keys.rules_current)).await?;
    Ok(current.filter(|revision| !revision.is_empty()))
}
