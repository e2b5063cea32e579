//! The alerter role: take, match, audit, finish.
