//! The harness of the tests that drive `mutt` from outside: real servers, real processes, nothing of its insides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod binary;
mod health;
mod pipeline;
mod prometheus;
mod role;
mod sender;

use std::time::{Duration, Instant};

pub use binary::{mutt, output_of, repository};
pub use health::argo_cd_health;
pub use pipeline::Pipeline;
pub use prometheus::Prometheus;
pub use role::{Role, RoleProcess};
pub use sender::{Answer, Sender, event};

/// How long a condition may take on a loaded machine before a test gives up. Nothing is measured against it.
pub const LIMIT: Duration = Duration::from_mins(2);

/// Waits until `check` says true.
///
/// # Panics
/// When it does not within [`LIMIT`]; `what` says what was waited for.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < LIMIT, "not seen within {} s: {what}", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The HTTP client of the tests; a request that takes longer than 30 s is an error, a certificate of any CA is none.
pub fn client() -> reqwest::Client {
    // A second call finds the provider installed, which is just as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap()
}
