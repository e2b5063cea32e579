//! `mutt db`: schema migrations, partitions, retention, status, duplicates.

mod command;
mod duplicates;
mod migrate;
mod partitions;
mod retention;
mod status;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use command::{DbArgs, run};
pub(crate) use migrate::migrate;
pub(crate) use partitions::partition_state;

/// A failed step of `mutt db`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// A statement, or the connection.
    #[error("postgresql: {0}")]
    Sql(#[from] sqlx::Error),
    /// A migration; the transaction of that migration was rolled back.
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A lock that others held during all tries.
    #[error("{what}: the table stayed locked during {tries} tries; run it again when no long transaction is open")]
    Locked {
        /// What was to be done.
        what: String,
        /// Tries of 200 ms each.
        tries: u32,
    },
}
