//! The alerter against real Redis and PostgreSQL servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;
mod flow;
mod live_rules;
mod rig;
