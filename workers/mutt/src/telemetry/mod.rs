//! Logs and metrics.

mod histogram;
mod logs;
mod queues;

pub(crate) use histogram::BatchHistogram;
pub(crate) use logs::init;
pub(crate) use queues::QueueGauges;

use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};

/// The version of this build, as in health answers and `agent` fields.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// From an event's acceptance to the end of a step: 5 ms, a lone event on an idle machine, to an hour, a backlog. Holds
/// the thresholds of the objectives, 10 s and 60 s.
pub(crate) const ACCEPTED_TO_BUCKETS_S: [f64; 18] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0];

/// The registry of a role, with `mutt_build_info`.
///
/// # Errors
/// None in practice: the registry is empty and the name is good.
pub(crate) fn registry() -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    let build = IntGaugeVec::new(Opts::new("mutt_build_info", "1, with the version of this process"), &["version"])?;
    build.with_label_values(&[VERSION]).set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}

/// All metrics of a registry in Prometheus' text format.
pub(crate) fn exposition(registry: &Registry) -> String {
    let mut text = String::with_capacity(16 * 1024);
    if let Err(error) = TextEncoder::new().encode_utf8(&registry.gather(), &mut text) {
        tracing::error!(%error, "metrics cannot be written");
    }
    text
}
