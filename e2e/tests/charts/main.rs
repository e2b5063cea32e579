//! The Helm charts and the Argo CD health checks: rendered, linted, refused and judged as their users' tools do it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
mod cases;
mod golden;
mod health;
mod helm;
mod install;
mod kubectl;
mod policy;
mod readme;
mod scaling;
mod schema;
