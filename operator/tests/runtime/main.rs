//! What keeps the operator running, against a real API server: the Lease, and the process from start to end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../api/mod.rs"]
mod api;
mod chart;
mod context;
mod lease;
mod operator;
mod process;
mod render;

use std::{path::Path, time::Duration};

use kube::Client;

/// Bound of everything that a test waits for: the machine may be busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + LIMIT;
    while tokio::time::Instant::now() < until {
        if let Some(value) = condition().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within {LIMIT:?}: {what}");
}

/// A client as a kubeconfig says; `server` replaces the one in it.
async fn client(kubeconfig: &Path, server: Option<String>) -> Client {
    Client::try_from(api::config(kubeconfig, server).await).unwrap()
}
