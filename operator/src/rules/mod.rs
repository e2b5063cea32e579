//! How AlertRules travel: index → publish → acknowledged → status.

use std::{convert::Infallible, sync::Arc};

use crate::runtime::{Context, Shutdown};

pub mod board;

pub use board::{PipelineKey, QueueDepths, RulesBoard, RulesState};

/// Not there yet.
pub async fn run(_context: Arc<Context>, shutdown: Shutdown) -> Result<(), Infallible> {
    shutdown.requested().await;
    Ok(())
}
