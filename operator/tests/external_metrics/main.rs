//! `external.metrics.k8s.io` against a real API server with aggregation, the real HPA controller and a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aggregated;
#[path = "../api/mod.rs"]
mod api;
mod authority;
mod certificate;
mod claim;
mod impostors;
mod outage;
mod replica;
mod rotation;
mod site;

use std::time::Duration;

/// Bound of everything that a test waits for: the machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause between looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
