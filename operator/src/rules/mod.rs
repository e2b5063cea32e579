//! How AlertRules travel: index → publish → acknowledged → status.

pub mod acks;
pub mod board;
pub mod form;
pub mod index;
#[cfg(test)]
mod index_tests;
pub mod status;
#[cfg(test)]
mod status_tests;

pub use board::{PipelineKey, QueueDepths, RulesBoard, RulesState};

/// Not there yet.
pub async fn run(
    _context: std::sync::Arc<crate::runtime::Context>,
    shutdown: crate::runtime::Shutdown,
) -> Result<(), std::convert::Infallible> {
    shutdown.requested().await;
    Ok(())
}
