//! Settings changed at run time: the hash `<prefix>:settings`, re-read by workers every 5 s.

use std::collections::BTreeMap;

use crate::connection::Redis;
use crate::error::RedisError;
use crate::keys::Keys;

/// All settings that were changed; an absent name follows the environment.
///
/// # Errors
/// Those of a command.
pub async fn read(redis: &Redis, keys: &Keys) -> Result<BTreeMap<String, String>, RedisError> {
    redis.query(redis::cmd("HGETALL").arg(&keys.settings)).await
}

/// Sets one; returns the value before.
///
/// # Errors
/// Those of a command.
pub async fn write(redis: &Redis, keys: &Keys, name: &str, value: &str) -> Result<Option<String>, RedisError> {
    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("HGET").arg(&keys.settings).arg(name);
    pipe.cmd("HSET").arg(&keys.settings).arg(name).arg(value).ignore();
    let (before,): (Option<String>,) = redis.pipeline(&pipe).await?;
    Ok(before)
}

/// Removes one, so that the environment counts again; returns the value before.
///
/// # Errors
/// Those of a command.
pub async fn remove(redis: &Redis, keys: &Keys, name: &str) -> Result<Option<String>, RedisError> {
    let mut pipe = redis::pipe();
    pipe.atomic();
    pipe.cmd("HGET").arg(&keys.settings).arg(name);
    pipe.cmd("HDEL").arg(&keys.settings).arg(name).ignore();
    let (before,): (Option<String>,) = redis.pipeline(&pipe).await?;
    Ok(before)
}
