//! `make bench-operator`: the real operator against a real API server, Redis, PostgreSQL and two real alerters, each figure
//! beside its goal. Without a node: nothing runs pods, so the alerters are processes of this machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot be taken ends the run"
)]

mod measure;
mod process;
mod report;
mod rules;
mod stage;

use report::Report;
use stage::Stage;

fn main() {
    // `cargo bench` adds --bench; a filter makes no sense here, since each figure builds on the state before it.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime.block_on(async {
        let mut report = Report::new();
        let mut stage = Stage::set_up().await;
        measure::all_at_once(&mut stage, &mut report).await;
        measure::changes(&stage, &mut report, 1_000).await;
        measure::start(&mut stage, &mut report).await;
        measure::steady(&mut stage, &mut report).await;
        measure::grow(&mut stage, 10_000).await;
        measure::changes(&stage, &mut report, 10_000).await;
        report
    });
    print!("{}", report.markdown());
}
