//! The queue against real redis-servers: every promise of its scripts, and what faults make of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cloned_ref_to_slice_refs,
    clippy::similar_names,
    missing_docs
)]

mod batches;
mod chaos;
mod connections;
mod faults;
mod meta;
mod model;
mod pushes;
mod served;
mod small;
mod support;
