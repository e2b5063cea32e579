//! The revision that workers should have, after a change in PostgreSQL.

use mutt_queue::{Keys, Redis, served_rules};
use mutt_rules::Revision;
use sqlx::PgPool;

use super::RuleSourceError;

/// Reads the tables as they are now, announces their revision and returns it: what whoever changed a rule in
/// PostgreSQL does after its COMMIT.
///
/// # Errors
/// When PostgreSQL or Redis does not answer; workers then see the change by themselves within a second or two.
pub(crate) async fn announce_change(pool: &PgPool, redis: &Redis, keys: &Keys) -> Result<Revision, RuleSourceError> {
    let loaded = super::postgres::load(pool).await?;
    served_rules::announce(redis, keys, loaded.revision.as_str()).await?;
    Ok(loaded.revision)
}
