//! The alerter: take, parse, match, audit, finish.

mod decide;
mod event;
mod reason;
mod signatures;
