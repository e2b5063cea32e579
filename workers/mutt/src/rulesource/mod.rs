//! Where rules come from: PostgreSQL, a directory or Redis; reload and acknowledgement.
