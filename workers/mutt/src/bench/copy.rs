//! The limit of the audit: a bare binary COPY of the same rows into the same tables by one connection.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection};

use crate::{audit::COPY_STATEMENT, worker::Fatal};

/// Bytes of one message to the server; larger ones gain nothing.
const CHUNK_BYTES: usize = 256 * 1024;

/// Reads all audit rows, empties the table and writes the same rows by one COPY; rows and time of the writing.
pub(super) async fn bare_copy(url: &str) -> Result<(u64, Duration), Fatal> {
    let failed = |error: sqlx::Error| Fatal::failed("the bare COPY", error);
    let mut connection = PgConnection::connect(url).await.map_err(failed)?;
    let out = COPY_STATEMENT.replace("FROM STDIN", "TO STDOUT").replace("COPY event_audit_log (", "COPY (SELECT ");
    let out = out.replacen(')', " FROM event_audit_log)", 1);
    let chunks: Vec<_> = connection.copy_out_raw(&out).await.map_err(failed)?.try_collect().await.map_err(failed)?;
    let data = chunks.concat();
    sqlx::query("TRUNCATE event_audit_log").execute(&mut connection).await.map_err(failed)?;
    let start = Instant::now();
    let mut copy = connection.copy_in_raw(COPY_STATEMENT).await.map_err(failed)?;
    for chunk in data.chunks(CHUNK_BYTES) {
        copy.send(chunk).await.map_err(failed)?;
    }
    let rows = copy.finish().await.map_err(failed)?;
    Ok((rows, start.elapsed()))
}
