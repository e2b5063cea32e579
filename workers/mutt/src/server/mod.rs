//! HTTP servers of every role: one accept loop, TLS, health and metrics.
