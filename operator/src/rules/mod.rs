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
