//! Step 3: the objects of a pipeline, one file per kind. Pure: what comes out depends on [`Resolved`] alone.

mod children;
pub mod foreign;
pub mod labels;

pub(crate) use children::for_each_child_kind;
pub use children::{Applied, Child, Children, Prepared};

use super::resolve::Resolved;

/// All children of the pipeline.
pub fn build(_pipeline: &Resolved) -> Children<Prepared> {
    Children::default()
}
