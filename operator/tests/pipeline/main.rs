//! The pipelines' controller against a real API server. No controller manager and no kubelet run here: the tests play Deployments and
//! Jobs by writing their status, which also shows what real ones rarely do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
mod autoscaling;
mod children;
mod foreign;
mod harness;
mod lifecycle;
mod outage;
mod steady;
