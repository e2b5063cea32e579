//! How an idle worker waits: BLMOVE of a queue's tail to its own tail returns as soon as the queue
//! is not empty, and moves nothing.

use std::time::Duration;

use crate::connection::Redis;
use crate::dedicated::Dedicated;
use crate::error::RedisError;

/// Waits for elements in one queue, on a connection of its own.
pub struct Doorbell {
    connection: Dedicated,
    queue: String,
}

impl Doorbell {
    /// For one queue.
    pub fn new(redis: &Redis, queue: impl Into<String>) -> Self {
        Self { connection: redis.dedicated(), queue: queue.into() }
    }

    /// True once the queue holds something, false after `timeout`. May be cancelled.
    ///
    /// A full Redis refuses the command (`OOM`): then this waits a second and says true, since a
    /// take is allowed even then.
    ///
    /// # Errors
    /// Those of a command; the caller asks again, pauses after failures are kept in here.
    pub async fn wait(&mut self, timeout: Duration) -> Result<bool, RedisError> {
        let mut command = redis::cmd("BLMOVE");
        command.arg(&self.queue).arg(&self.queue).arg("RIGHT").arg("RIGHT").arg(timeout.as_secs_f64().max(0.001));
        match self.connection.query::<Option<redis::Value>>(&command, timeout).await {
            Ok(element) => Ok(element.is_some()),
            Err(error) if error.code() == Some("OOM") => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}
