//! `mutt status`: how the pipeline is, for the person who was woken.

mod command;
mod line;
mod look;
mod problems;
mod report;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use command::{StatusArgs, run};
