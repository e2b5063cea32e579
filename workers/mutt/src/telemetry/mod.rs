//! Logs and metrics.

mod logs;

pub(crate) use logs::init;

use prometheus::{Registry, TextEncoder};

/// The version of this build, as in health answers and `agent` fields.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All metrics of a registry in Prometheus' text format.
pub(crate) fn exposition(registry: &Registry) -> String {
    let mut text = String::with_capacity(16 * 1024);
    if let Err(error) = TextEncoder::new().encode_utf8(&registry.gather(), &mut text) {
        tracing::error!(%error, "metrics cannot be written");
    }
    text
}
