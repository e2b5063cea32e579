//! How AlertRules travel: index → publish → acknowledged → status.
//!
//! [`watch`] sees what is in the API, [`index`] says which rules each pipeline has, a [`task`] per pipeline brings them into
//! Redis and hears the alerters, [`status`] says what is to be told; [`hub`] holds it together and [`board`] shows it to the
//! pipeline half.

mod acks;
pub mod board;
mod copier;
mod copy;
mod crew;
mod desk;
mod form;
mod hub;
mod index;
#[cfg(test)]
mod index_tests;
pub mod keyspace;
mod last_good;
mod publish;
mod record;
pub(crate) mod redis;
mod repeats;
mod report;
mod retry;
mod selectors;
mod standing;
mod status;
#[cfg(test)]
mod status_tests;
mod task;
mod tell;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

pub use board::{PipelineKey, QueueDepths, RulesBoard, RulesState};

use crate::runtime::{Context, Shutdown};

/// Changes and reports that may wait for the hub; the watches and tasks wait after that.
const QUEUE: usize = 1_024;

/// Rules that can never fire → the rule that takes all they would match.
type Shadows = HashMap<String, String>;

/// The rules half cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of its tasks ended.
    #[error("{0}")]
    Task(String),
}

/// Carries AlertRules to their alerters until the end is asked for. Writes; only the leader may call it.
///
/// # Errors
/// When one of its tasks ended although it should not.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), Error> {
    let namespaces = context.args.watch_namespaces.clone();
    let (seen, changes) = mpsc::channel(QUEUE);
    let (heard, reports) = mpsc::channel(QUEUE);
    let watches = watch::Watches::new(context.client.clone(), seen);
    let crew = crew::Crew::new(Arc::clone(&context), heard);
    let hub = hub::Hub::new(context, crew, watch::Watches::count(&namespaces));
    tokio::select! {
        () = shutdown.requested() => Ok(()),
        () = watches.run(namespaces) => Err(Error::Task("the watches ended".to_owned())),
        ended = hub.run(changes, reports) => ended,
    }
}
