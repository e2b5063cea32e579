//! The pipeline under trouble: killed workers, servers that go away, bad input, bad settings; and `mutt dev`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cuts;
mod dev;
mod drain;
mod faults;
mod garbage;
mod kill;
mod ledger;
mod load;
mod rules;
mod settings;
mod status;
mod tls;
mod webhook;
