//! What keeps the controllers running: arguments, lease, supervision, health, metrics.
