//! How AlertRules travel: index → publish → acknowledged → status.
