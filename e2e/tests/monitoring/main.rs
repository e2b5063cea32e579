//! What the monitoring is told to look at: alerts, runbooks and dashboards, judged by Prometheus and by what is really exported.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod dashboard;
mod dashboards;
mod live;
mod prometheus;
mod rules;
mod runbooks;
mod sources;
