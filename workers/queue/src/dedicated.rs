//! A connection of its own for commands that block.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue};
use tokio::time::Instant;

use crate::connect::{self, RedisSettings};
use crate::connection::backoff;
use crate::error::{RedisError, checked};

/// Runs one blocking command at a time. A command that is given up (its future dropped, or no
/// answer in time) takes its connection with it, so that Redis stops waiting for nobody.
pub struct Dedicated {
    settings: RedisSettings,
    connection: Option<MultiplexedConnection>,
    failures: u32,
    closed_until: Option<Instant>,
}

impl Dedicated {
    pub(crate) fn new(settings: RedisSettings) -> Self {
        Self { settings, connection: None, failures: 0, closed_until: None }
    }

    /// Sends `command`, which Redis answers within `blocks_for` (or at once).
    ///
    /// # Errors
    /// As [`crate::Redis::query`]; after a failure to connect the next attempt waits for its pause.
    pub async fn query<T: FromRedisValue>(&mut self, command: &Cmd, blocks_for: Duration) -> Result<T, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let limit = blocks_for + self.settings.response_timeout;
        let answer = tokio::time::timeout(limit, connection.send_packed_command(command)).await;
        let result = match answer {
            Ok(value) => value.map_err(RedisError::sent).and_then(checked),
            Err(_) => Err(RedisError::unknown(format!("no answer within {limit:?}"))),
        };
        if !result.as_ref().is_err_and(RedisError::wants_reconnect) {
            self.connection = Some(connection);
        }
        T::from_redis_value(result?).map_err(|_| RedisError::shape("blocking command"))
    }

    async fn connect(&mut self) -> Result<MultiplexedConnection, RedisError> {
        if let Some(until) = self.closed_until {
            tokio::time::sleep_until(until).await;
        }
        let opened = connect::open_blocking(&self.settings).await;
        if opened.is_ok() {
            self.failures = 0;
            self.closed_until = None;
        } else {
            self.closed_until = Some(Instant::now() + backoff(self.failures));
            self.failures = self.failures.saturating_add(1);
        }
        opened
    }
}
