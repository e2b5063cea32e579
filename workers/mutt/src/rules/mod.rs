//! `mutt rules`: apply, export, test and lint AlertRule files; and the tables behind them, which the API shares.

mod apply;
pub(crate) mod change;
mod command;
mod export;
mod lint;
mod plan;
pub(crate) mod row;
mod sources;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod trial;
mod why;

pub(crate) use command::{RulesArgs, run};
