//! The ingestor role: HTTP in, group commit to Redis.

mod ids;
mod parse;
mod reason;
mod scan;
mod split;
mod validate;
