//! What keeps the operator running, against a real API server: the Lease, and the process from start to end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chart;
mod context;
mod lease;
mod operator;
mod process;

use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

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
    // A second installation is a no-op.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    if server.is_some() {
        kubeconfig.clusters[0].cluster.as_mut().unwrap().server = server;
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}
