//! How AlertRules travel: index → publish → acknowledged → status.

pub mod board;

pub use board::{PipelineKey, QueueDepths, RulesBoard, RulesState};
