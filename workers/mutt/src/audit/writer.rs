//! One transaction per batch, or per a few in a storm: COPY of the rows, then the batches' own rows and COMMIT in one
//! message.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use mutt_queue::BatchId;
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use super::copy::{COPY_STATEMENT, CopyBuffer, HEADER, TRAILER};
use super::sqlstate::{Verdict, verdict};

/// Locks are waited for for a shorter time than a lease lasts; then the batch is held and tried again. Where the server
/// answers a COMMIT before it is on disk, this session does not: a finished batch could be lost in a crash.
const SESSION: &str = "SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '60s'; \
                       SET application_name = 'mutt alerter'; \
                       SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";
/// A server that says nothing for so long is away; the connection is given up and the outcome read over another one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// sqlx keeps the largest message it ever sent as its buffer, so rows go in pieces of this size.
const CHUNK_BYTES: usize = 64 * 1024;

/// A batch to be audited.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// Its id.
    pub batch: BatchId,
    /// Its rows.
    pub rows: &'a CopyBuffer,
    /// What its finish owes to Redis, as JSON.
    pub outbox: &'a str,
}

/// What became of a batch, or of several in one transaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Rows and outboxes are committed.
    Committed,
    /// Another owner (or an earlier try whose answer was lost) committed this outbox; nothing was added.
    Already(String),
    /// PostgreSQL will never take these rows (ascending); nothing was written.
    BadRows(Vec<(usize, String)>),
    /// One of several batches is either of the two above; nothing was written, each is to be written alone.
    Alone,
}

/// The batch is held: PostgreSQL is away or does not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// The connection, a lock, a right, a partition, space.
    #[error("audit: {0}")]
    Database(#[from] sqlx::Error),
    /// No answer in [`ANSWER_TIMEOUT`].
    #[error("audit: no answer from postgresql within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent,
}

/// A connection for audits, made again whenever its state is in doubt.
pub(crate) struct Writer {
    pool: PgPool,
    connection: Option<PoolConnection<Postgres>>,
}

impl Writer {
    /// A writer that takes its connection from `pool` when it first needs one, and keeps it.
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, connection: None }
    }

    /// Audits batches in one transaction. Safe to call again after any error: a batch that is committed is found so.
    pub(crate) async fn write(&mut self, entries: &[Entry<'_>]) -> Result<Written, AuditError> {
        let mut connection = self.connect().await?;
        let result = answered(transaction(&mut connection, entries)).await;
        let error = match result {
            Ok(()) => {
                self.connection = Some(connection);
                return Ok(Written::Committed);
            }
            Err(AuditError::Database(error)) => error,
            Err(silent) => {
                give_up(connection).await;
                return Err(silent);
            }
        };
        let verdict = verdict(&error);
        if verdict == Verdict::Hold {
            give_up(connection).await;
            return Err(error.into());
        }
        let found = answered(after_refusal(&mut connection, verdict, entries)).await;
        match found {
            Ok(written) => {
                self.connection = Some(connection);
                written.ok_or(AuditError::Database(error))
            }
            Err(failed) => {
                give_up(connection).await;
                Err(failed)
            }
        }
    }

    /// The stored outbox of a batch that another owner may have audited, without writing anything.
    pub(crate) async fn stored(&mut self, batch: BatchId) -> Result<Option<String>, AuditError> {
        let mut connection = self.connect().await?;
        match answered(stored_outbox(&mut connection, batch)).await {
            Ok(outbox) => {
                self.connection = Some(connection);
                Ok(outbox)
            }
            Err(error) => {
                give_up(connection).await;
                Err(error)
            }
        }
    }

    /// Gives the connection back.
    pub(crate) async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            give_up(connection).await;
        }
    }

    async fn connect(&mut self) -> Result<PoolConnection<Postgres>, AuditError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        answered(async {
            let mut connection = self.pool.acquire().await?;
            connection.execute(sqlx::raw_sql(SESSION)).await?;
            Ok(connection)
        })
        .await
    }
}

async fn answered<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, AuditError> {
    match timeout(ANSWER_TIMEOUT, work).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(AuditError::Silent),
    }
}

/// Takes the connection out of the pool and drops it: whatever transaction it is in ends on the server.
async fn give_up(connection: PoolConnection<Postgres>) {
    let closing = connection.detach().close_hard();
    drop(timeout(Duration::from_secs(1), closing).await);
}

async fn transaction(connection: &mut PgConnection, entries: &[Entry<'_>]) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql("BEGIN")).await?;
    if entries.iter().any(|entry| entry.rows.rows() > 0) {
        copy(connection, entries.iter().map(|entry| entry.rows.slice(0..entry.rows.rows()))).await?;
    }
    // One message: no client can be frozen between the rows' locks and their COMMIT.
    let mut statement = String::with_capacity(entries.iter().map(|entry| entry.outbox.len() + 50).sum::<usize>() + 70);
    statement.push_str("INSERT INTO audit_batch (batch_id, outbox) VALUES ");
    for (index, entry) in entries.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let outbox = entry.outbox.replace('\'', "''");
        // Writing to a String cannot fail.
        let _ = write!(statement, "{separator}('{}', '{outbox}')", entry.batch);
    }
    statement.push_str("; COMMIT");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await?;
    Ok(())
}

/// Sends encoded rows in pieces that are neither many system calls nor a large buffer.
async fn copy<'a>(connection: &mut PgConnection, rows: impl Iterator<Item = &'a [u8]>) -> Result<(), sqlx::Error> {
    let mut stream = connection.copy_in_raw(COPY_STATEMENT).await?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    chunk.extend_from_slice(HEADER);
    for mut rest in rows {
        while chunk.len() + rest.len() > CHUNK_BYTES {
            let (now, later) = rest.split_at(CHUNK_BYTES - chunk.len());
            chunk.extend_from_slice(now);
            stream.send(chunk.as_slice()).await?;
            chunk.clear();
            rest = later;
        }
        chunk.extend_from_slice(rest);
    }
    // A lone event goes in one message.
    if chunk.len() + TRAILER.len() > CHUNK_BYTES {
        stream.send(chunk.as_slice()).await?;
        chunk.clear();
    }
    chunk.extend_from_slice(TRAILER);
    stream.send(chunk.as_slice()).await?;
    stream.finish().await?;
    Ok(())
}

async fn after_refusal(
    connection: &mut PgConnection,
    verdict: Verdict,
    entries: &[Entry<'_>],
) -> Result<Option<Written>, sqlx::Error> {
    connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
    let [entry] = entries else { return Ok(Some(Written::Alone)) };
    if verdict == Verdict::AlreadyDone {
        return Ok(stored_outbox(connection, entry.batch).await?.map(Written::Already));
    }
    let bad = bad_rows(connection, entry.rows).await?;
    Ok((!bad.is_empty()).then_some(Written::BadRows(bad)))
}

async fn stored_outbox(connection: &mut PgConnection, batch: BatchId) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT outbox FROM audit_batch WHERE batch_id = $1")
        .bind(batch.uuid())
        .fetch_optional(connection)
        .await
}

/// Finds the rows that PostgreSQL refuses, by halves, in transactions that are rolled back.
async fn bad_rows(connection: &mut PgConnection, rows: &CopyBuffer) -> Result<Vec<(usize, String)>, sqlx::Error> {
    let mut bad = Vec::new();
    let mut open = Vec::from([Range { start: 0, end: rows.rows() }]);
    while let Some(range) = open.pop() {
        connection.execute(sqlx::raw_sql("BEGIN")).await?;
        let tried = copy(connection, std::iter::once(rows.slice(range.clone()))).await;
        connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
        match tried {
            Ok(()) => {}
            Err(error) if verdict(&error) != Verdict::BadRow => return Err(error),
            Err(error) if range.len() == 1 => bad.push((range.start, error.to_string())),
            Err(_) => {
                let middle = range.start + range.len() / 2;
                open.push(middle..range.end);
                open.push(range.start..middle);
            }
        }
    }
    Ok(bad)
}
