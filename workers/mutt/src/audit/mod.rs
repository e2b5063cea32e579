//! The audit trail: one transaction per batch, COPY and the outbox row.
