//! The operator: MuttPipelines become running pipelines, AlertRules travel to their alerters and say when they are active.
//!
//! [`pipeline`] is the reconcile of a MuttPipeline in five steps (fetch → resolve → build → apply → status), [`rules`] the way
//! of the AlertRules into Redis and of the acknowledgements back, [`external_metrics`] tells autoscalers of the queues,
//! [`runtime`] what keeps all running: arguments, lease, supervision, health and metrics.

mod condition;
pub mod external_metrics;
pub mod pipeline;
pub mod rules;
pub mod runtime;
