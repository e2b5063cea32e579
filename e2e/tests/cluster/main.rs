//! MUTT on a real Kubernetes node: what a user does, and what goes wrong at night. Run by `make e2e-cluster`, which starts the
//! node and loads the images; each test has a namespace and servers of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod children;
mod five_minutes;
mod images;
mod installation;
mod kubectl;
mod leader;
mod lifecycle;
mod outside;
mod pipeline;
mod trouble;

/// Where the images that `make images REGISTRY=localhost` built seem to come from.
const REGISTRY: &str = "localhost";
