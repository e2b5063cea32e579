//! Heartbeats: for people and for counting live workers; the janitor does not look at them.

use crate::connection::Redis;
use crate::error::RedisError;
use crate::ids::WorkerId;
use crate::keys::{Keys, Role};
use crate::script::Script;

/// How long a heartbeat lives without being refreshed, in seconds.
pub const HEARTBEAT_TTL_S: u64 = 30;

static HEARTBEAT: Script = Script::new(include_str!("lua/heartbeat.lua"));
static UNBEAT: Script = Script::new(include_str!("lua/unbeat.lua"));
static ALIVE: Script = Script::new(include_str!("lua/alive.lua"));

/// Writes or refreshes a worker's heartbeat; the first one comes before its first take. `value` is
/// for people: the time of the start, of a forwarder a [`crate::ForwarderBeat`].
///
/// # Errors
/// Those of a command.
pub async fn beat(redis: &Redis, keys: &Keys, role: Role, worker: &WorkerId, value: &str) -> Result<(), RedisError> {
    let mut call = HEARTBEAT.call(&[&keys.heartbeat(role, worker), keys.workers(role), &keys.rules_ack]);
    call.arg(worker.as_str()).arg(HEARTBEAT_TTL_S).arg(value);
    redis.run(&call).await.map(drop)
}

/// Removes a worker's heartbeat at its end.
///
/// # Errors
/// Those of a command.
pub async fn stop(redis: &Redis, keys: &Keys, role: Role, worker: &WorkerId) -> Result<(), RedisError> {
    let mut call = UNBEAT.call(&[&keys.heartbeat(role, worker), keys.workers(role)]);
    call.arg(worker.as_str());
    redis.run(&call).await.map(drop)
}

/// The live workers of a role.
///
/// # Errors
/// Those of a command.
pub async fn alive(redis: &Redis, keys: &Keys, role: Role) -> Result<Vec<WorkerId>, RedisError> {
    let names: Vec<String> = redis.run_as(&ALIVE.call(&[keys.workers(role)])).await?;
    Ok(names.into_iter().map(WorkerId::named).collect())
}
