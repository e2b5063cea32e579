//! PostgreSQL's binary COPY format (manual, "COPY", file formats), written into one buffer that is used again.

use std::ops::Range;

/// The columns that [`CopyBuffer::push`] writes, in its order; the id comes from the table's sequence.
pub(crate) const COPY_STATEMENT: &str = "COPY event_audit_log (event_timestamp, hostname, matched_rule_id, \
     handling_decision, forwarded_to_moog, raw_message, received_at, event_id, correlation_id, rule_name, \
     rule_revision, team) FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 12;

/// Signature, no flags, no header extension.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The end of data: a tuple with -1 fields.
pub(crate) const TRAILER: &[u8] = &(-1i16).to_be_bytes();

/// A buffer that grew beyond this for one batch of large events is given back.
const KEPT_CAPACITY_BYTES: usize = 1 << 20;

/// One row of `event_audit_log`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditRow<'a> {
    /// Microseconds since 2000-01-01 UTC.
    pub event_timestamp: i64,
    /// The sending device.
    pub hostname: &'a str,
    /// Id of the rule in `alert_rules`, where it has one.
    pub matched_rule_id: Option<i32>,
    /// The handling word as the rule gives it, or `unhandled`.
    pub handling_decision: &'a str,
    /// Whether the decision was to send an alert.
    pub forwarded_to_moog: bool,
    /// The queued element, unchanged.
    pub raw_message: &'a str,
    /// Microseconds since 2000-01-01 UTC.
    pub received_at: i64,
    /// The pipeline's own id.
    pub event_id: uuid::Uuid,
    /// The sender's or the pipeline's.
    pub correlation_id: Option<&'a str>,
    /// Name of the rule that matched.
    pub rule_name: Option<&'a str>,
    /// Revision of the rule set that decided.
    pub rule_revision: &'a str,
    /// Team of the rule that matched.
    pub team: Option<&'a str>,
}

/// Encoded rows; each can be sent alone, so that a refused batch is halved without encoding it again.
#[derive(Debug, Default)]
pub(crate) struct CopyBuffer {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl CopyBuffer {
    /// Forgets the rows and keeps the memory, within bounds.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY_BYTES);
        self.ends.clear();
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of some rows, to be sent between [`HEADER`] and [`TRAILER`].
    pub(crate) fn slice(&self, rows: Range<usize>) -> &[u8] {
        let start = rows.start.checked_sub(1).map_or(0, |before| self.ends[before]);
        let end = rows.end.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.bytes[start..end]
    }

    /// Takes a row out again.
    pub(crate) fn remove(&mut self, row: usize) {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        let end = self.ends.remove(row);
        self.bytes.drain(start..end);
        for later in &mut self.ends[row..] {
            *later -= end - start;
        }
    }

    /// Appends a row.
    pub(crate) fn push(&mut self, row: &AuditRow<'_>) {
        let out = &mut self.bytes;
        out.extend_from_slice(&COLUMNS.to_be_bytes());
        int8(out, row.event_timestamp);
        text(out, row.hostname);
        match row.matched_rule_id {
            Some(id) => field(out, &id.to_be_bytes()),
            None => null(out),
        }
        text(out, row.handling_decision);
        field(out, &[u8::from(row.forwarded_to_moog)]);
        text(out, row.raw_message);
        int8(out, row.received_at);
        field(out, row.event_id.as_bytes());
        optional(out, row.correlation_id);
        optional(out, row.rule_name);
        text(out, row.rule_revision);
        optional(out, row.team);
        self.ends.push(out.len());
    }
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn int8(out: &mut Vec<u8>, value: i64) {
    field(out, &value.to_be_bytes());
}

fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1i32).to_be_bytes());
}

fn optional(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        Some(value) => text(out, value),
        None => null(out),
    }
}

/// PostgreSQL's text cannot hold NUL, which `\u0000` in JSON decodes to: it becomes U+FFFD.
fn text(out: &mut Vec<u8>, value: &str) {
    if memchr::memchr(0, value.as_bytes()).is_none() {
        field(out, value.as_bytes());
    } else {
        field(out, value.replace('\0', "\u{fffd}").as_bytes());
    }
}
