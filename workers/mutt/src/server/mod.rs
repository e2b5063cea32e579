//! HTTP servers of every role: one accept loop on hyper, with TLS, limits against slow and many clients, and a drain.

mod accept;
mod health;
mod ports;
mod timer;
mod tls;

pub(crate) use accept::{Limits, Peer, bind, serve, serve_router};
pub(crate) use health::{Dependency, Health, health_router, metrics_router};
pub(crate) use ports::serve_ports;
pub(crate) use tls::{Tls, roots};
