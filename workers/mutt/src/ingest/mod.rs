//! The ingestor role: HTTP in, group commit to Redis.

mod scan;
mod split;
