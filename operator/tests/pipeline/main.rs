//! The pipelines' controller against a real API server. No controller manager and no kubelet run here: the tests play Deployments and
//! Jobs by writing their status, which also shows what real ones rarely do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
#[path = "../api/mod.rs"]
mod api;
mod autoscaling;
mod children;
mod claimed;
mod foreign;
mod golden;
mod harness;
mod keda;
mod lifecycle;
#[path = "../runtime/operator.rs"]
#[allow(dead_code, reason = "the tests of the process itself use more of it")]
mod operator;
mod outage;
#[path = "../runtime/render.rs"]
mod render;
mod rights;
mod steady;

pub(crate) use harness::{LIMIT, eventually};
