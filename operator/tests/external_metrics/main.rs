//! `external.metrics.k8s.io` against a real API server with aggregation, the real HPA controller and a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aggregated;
#[path = "../api/mod.rs"]
mod api;
mod authority;
mod certificate;
mod claim;
mod impostors;
#[path = "../runtime/operator.rs"]
#[allow(dead_code, reason = "the tests of the process itself use more of it")]
mod operator;
mod outage;
mod process;
mod replica;
mod rotation;
mod site;

use std::time::Duration;

/// Bound of everything that a test waits for: the machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause between looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until `condition` holds.
async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    site::eventually(async || condition().await.ok_or_else(|| what.to_owned())).await
}
