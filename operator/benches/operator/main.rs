//! `make bench-operator`: the real operator against a real API server, Redis, PostgreSQL and two real alerters, each figure
//! beside its goal. Without a node: nothing runs pods, so the alerters are processes of this machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot be taken ends the run"
)]

#[path = "../../tests/api/mod.rs"]
mod api;
mod measure;
mod process;
mod report;
mod rules;
mod stage;

use report::Report;
use stage::Stage;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    // Without a name, everything; `cargo bench` itself adds --bench.
    let named: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|argument| argument.as_str() == name);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let report = runtime.block_on(async {
        let mut report = Report::new();
        let mut stage = Stage::set_up().await;
        // What follows needs its rules.
        measure::all_at_once(&mut stage, &mut report).await;
        if wanted("changes") {
            measure::changes(&stage, &mut report, 1_000).await;
        }
        if wanted("start") {
            measure::start(&mut stage, &mut report).await;
        }
        if wanted("steady") {
            measure::steady(&mut stage, &mut report).await;
        }
        if wanted("many") {
            measure::grow(&mut stage, 10_000).await;
            measure::changes(&stage, &mut report, 10_000).await;
        }
        report
    });
    print!("{}", report.markdown());
}
