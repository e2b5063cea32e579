//! Schema migrations, embedded in the binary.

use serde::Serialize;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use super::DbError;
use super::partitions::make_ahead;

/// The migrations of this binary; sqlx takes an advisory lock, so that two may run at once.
///
/// Those of a newer MUTT are left alone: columns are only added, and going back to an older version at night must work.
pub(super) static MIGRATOR: Migrator = {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.ignore_missing = true;
    migrator
};

/// What `mutt db migrate` did.
#[derive(Debug, Serialize)]
pub(crate) struct Migrated {
    /// Version of the schema now.
    pub version: i64,
    /// Migrations applied by this run.
    pub applied: usize,
    /// Partitions made by this run.
    pub partitions_made: Vec<String>,
}

/// Brings the schema up to this binary's version and makes the partitions of the months to come. Safe to repeat, and
/// on the database of a MUTT 2.x.
///
/// # Errors
/// When a migration fails (that migration is rolled back) or a partition cannot be made.
pub(crate) async fn migrate(pool: &PgPool) -> Result<Migrated, DbError> {
    let before = applied(pool).await?;
    MIGRATOR.run(pool).await?;
    let after = applied(pool).await?;
    let partitions_made = make_ahead(pool).await?;
    Ok(Migrated {
        version: after.last().copied().unwrap_or(0),
        applied: after.len() - before.len().min(after.len()),
        partitions_made,
    })
}

/// Versions of the applied migrations, ascending; none if the database knows nothing of MUTT.
pub(super) async fn applied(pool: &PgPool) -> Result<Vec<i64>, DbError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    if !exists {
        return Ok(Vec::new());
    }
    let query = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
    Ok(sqlx::query_scalar(query).fetch_all(pool).await?)
}
