//! MUTT on a real Kubernetes node: what a user does, and what goes wrong at night. Run by `make e2e`, which starts the
//! node and loads the images; each test has a namespace and servers of its own. Tests begin in the order of their names, so those
//! that need the cluster alone come last: the others do not wait for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod autoscaling;
mod children;
mod five_minutes;
mod flood;
mod images;
mod installation;
mod keda;
mod kubectl;
mod leader;
mod outside;
mod pipeline;
mod replicas;
mod trouble;
mod unattended;
mod upgrade;

/// Where the images that `make images REGISTRY=localhost` built seem to come from.
const REGISTRY: &str = "localhost";
