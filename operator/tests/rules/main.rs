//! AlertRules travel: a real API server, a real Redis, the rules half of the operator, and alerters that do what real ones
//! do with Redis: heartbeat, look at the current revision, acknowledge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alerter;
#[path = "../api/mod.rs"]
mod api;
mod changes;
mod flow;
mod numbers;
mod outages;
mod redis;
mod selection;
mod site;

use std::time::Duration;

/// Bound of everything that a test waits for: the machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause between looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
