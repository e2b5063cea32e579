//! The audit trail: rows encoded for COPY, one transaction per batch with its outbox, and what errors of
//! PostgreSQL mean for a batch.

mod copy;
mod outbox;
mod sqlstate;
#[cfg(test)]
mod tests;
pub(crate) mod timestamp;
mod writer;

pub(crate) use copy::{AuditRow, COPY_STATEMENT, CopyBuffer};
pub(crate) use outbox::{DeadEntry, Outbox, Template, UnhandledGroup};
pub(crate) use writer::{AuditError, Entry, Writer, Written};
