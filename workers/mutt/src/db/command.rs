//! The command line of `mutt db`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use mutt_queue::{Keys, Lease, Redis, RedisError};
use sqlx::PgPool;

use super::DbError;
use super::duplicates::{Duplicate, duplicates};
use super::migrate::{Migrated, migrate};
use super::retention::{BATCH_DAYS_KEPT, Retained, retention};
use super::status::{Status, status};
use crate::cli::{Output, Tool, print};
use crate::connect;
use crate::settings::{DatabaseSettings, Reader, RedisSettings};
use crate::worker::Fatal;

/// A Redis that does not answer within this time is taken as away; retention then keeps the batches' old days.
const REDIS_TIMEOUT: Duration = Duration::from_secs(5);

/// The database: schema, partitions, retention, state.
#[derive(Args)]
pub(crate) struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
}

#[derive(Subcommand)]
enum DbCommand {
    /// Bring the schema up to this version and make the partitions of the months to come; safe to repeat, and on the
    /// database of a MUTT 2.x.
    Migrate,
    /// Make partitions ahead, drop old ones, trim the DEFAULT partition; to be run once a day by a timer or CronJob.
    Retention {
        /// Months of audit that are kept besides the current one.
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=1_200))]
        months: i32,
    },
    /// Show version, partitions and what is wrong; ends with 1 if anything is.
    Status,
    /// List events that were audited more than once, which only a Redis that lost acknowledged data can cause.
    Duplicates {
        /// Look at events received within so many hours.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i32).range(1..=87_600))]
        hours: i32,
        /// List at most so many.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
        limit: i64,
    },
}

/// Runs `mutt db`.
///
/// # Errors
/// When PostgreSQL does not do it; findings of `status` and `duplicates`.
pub(crate) async fn run(args: DbArgs, tool: Tool) -> Result<(), Fatal> {
    let mut reader = Reader::new(&tool.vars);
    let database = DatabaseSettings::read(&mut reader);
    let redis = RedisSettings::read(&mut reader);
    let (database, redis) = reader.finish((database, redis))?;
    let pool = connect::postgres(&database, &tool.secrets, &tool.shutdown);
    let what = format!("database {} on {}:{}", database.database, database.host, database.port);
    let failed = |error: DbError| Fatal::failed(what.clone(), error);
    match args.command {
        DbCommand::Migrate => print(args.output, &migrate(&pool).await.map_err(failed)?, migrated_text),
        DbCommand::Retention { months } => {
            let redis_client = Redis::new(connect::redis(&redis, &tool.secrets));
            let no_old_lease = no_old_lease(&redis_client, &connect::keys(&redis)).await;
            if let Err(error) = &no_old_lease {
                tracing::warn!(%error, "old days of audit_batch stay: whether a batch that old is in flight cannot be told");
            }
            let retained = retention(&pool, months, no_old_lease.unwrap_or(false)).await.map_err(failed)?;
            print(args.output, &retained, retained_text)
        }
        DbCommand::Status => {
            let status = status(&pool).await.map_err(failed)?;
            print(args.output, &status, status_text)?;
            if status.problems.is_empty() { Ok(()) } else { Err(Fatal::Findings(status.problems.join("; "))) }
        }
        DbCommand::Duplicates { hours, limit } => {
            list_duplicates(&pool, args.output, hours, limit).await.map_err(failed)?
        }
    }
}

async fn list_duplicates(pool: &PgPool, output: Output, hours: i32, limit: i64) -> Result<Result<(), Fatal>, DbError> {
    let found = duplicates(pool, hours, limit).await?;
    if let Err(error) = print(output, &found, |found| duplicates_text(found)) {
        return Ok(Err(error));
    }
    let findings = format!("{} events were audited more than once", found.len());
    Ok(if found.is_empty() { Ok(()) } else { Err(Fatal::Findings(findings)) })
}

/// Whether no alerter's batch in flight is older than the days that are kept: a batch's id tells its time.
async fn no_old_lease(redis: &Redis, keys: &Keys) -> Result<bool, RedisError> {
    let mut command = mutt_queue::redis::cmd("ZRANGE");
    command.arg(&keys.leases_alerter).arg(0).arg(-1);
    let members: Vec<String> = match tokio::time::timeout(REDIS_TIMEOUT, redis.query(&command)).await {
        Ok(members) => members?,
        Err(_) => return Ok(false),
    };
    let kept = Duration::from_secs(u64::from(BATCH_DAYS_KEPT.unsigned_abs()) * 86_400);
    let oldest = SystemTime::now().checked_sub(kept).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let oldest_seconds = oldest.map_or(0, |time| time.as_secs());
    let seconds = |lease: &Lease| lease.batch.uuid().get_timestamp().map_or(0, |time| time.to_unix().0);
    Ok(members.iter().filter_map(|member| Lease::parse(member)).all(|lease| seconds(&lease) > oldest_seconds))
}

fn migrated_text(migrated: &Migrated) -> String {
    format!(
        "schema version {} ({} migrations applied now), {} partitions made",
        migrated.version,
        migrated.applied,
        migrated.partitions_made.len()
    )
}

fn retained_text(retained: &Retained) -> String {
    let days = retained.batch_days_dropped.map_or("kept".to_owned(), |days| format!("{days} dropped"));
    format!(
        "partitions made: {}\nmonths dropped: {}\nrows trimmed from the DEFAULT partition: {}\nold days of audit_batch: {days}",
        if retained.partitions_made.is_empty() { "none".to_owned() } else { retained.partitions_made.join(", ") },
        retained.months_dropped,
        retained.default_rows_deleted,
    )
}

fn status_text(status: &Status) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "schema version {} (this binary: {})\nrules: {} ({} active), changed {} times\n",
        status.version, status.version_of_binary, status.rules, status.rules_active, status.rules_change
    );
    for partition in &status.partitions {
        let rows = if partition.rows_estimated < 0 { "?".to_owned() } else { partition.rows_estimated.to_string() };
        let _ =
            writeln!(text, "{:<28} {rows:>12} rows (estimated) {:>10} KiB", partition.name, partition.bytes / 1_024);
    }
    if status.problems.is_empty() {
        text.push_str("no problems\n");
    }
    text
}

fn duplicates_text(found: &[Duplicate]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for duplicate in found {
        let _ = writeln!(
            text,
            "{} {} {} rows: {:?}",
            duplicate.event_id, duplicate.hostname, duplicate.rows, duplicate.row_ids
        );
    }
    if found.is_empty() {
        text.push_str("no event was audited twice\n");
    }
    text
}
