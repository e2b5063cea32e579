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

/// The rules, hosts and teams of the files in a directory, without the documents that have faults.
pub(crate) fn read_directory(path: &std::path::Path) -> mutt_rules::RuleSet {
    sources::Sources::read(&[path.to_owned()]).rule_set()
}
