//! Reconcile of a MuttPipeline: fetch → resolve → build → apply → status, one file each.

pub mod build;
pub mod resolve;

use std::{convert::Infallible, sync::Arc};

use crate::runtime::{Context, Shutdown};

/// Not there yet.
pub async fn run(_context: Arc<Context>, shutdown: Shutdown) -> Result<(), Infallible> {
    shutdown.requested().await;
    Ok(())
}
