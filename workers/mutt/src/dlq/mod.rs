//! `mutt dlq`: list, show, replay and purge dead letters.

mod command;
mod text;

pub(crate) use command::{DlqArgs, run};
