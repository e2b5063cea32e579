//! The custom resources of MUTT, group `mutt.dev`, version `v1alpha1`: [`MuttPipeline`] and [`AlertRule`].
//!
//! The Rust types are the source. `crdgen` writes the definitions (`crds/generated`), the chart of definitions and the reference
//! page from them; a test compares what is committed.

mod alert_rule;
pub mod definition;
pub mod generated;
pub mod pipeline;
mod reference;

pub use alert_rule::{AlertRule, AlertRuleStatus, PipelineBinding};
pub use pipeline::{MuttPipeline, MuttPipelineSpec, MuttPipelineStatus};

/// API group of both kinds.
pub const GROUP: &str = "mutt.dev";
/// Served and stored version of both kinds.
pub const VERSION: &str = "v1alpha1";
