//! Warnings about rules that work but probably not as meant.

use std::fmt;

use crate::rule_set::RuleSet;

/// Kind of a warning; one word for logs and the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LintCode {
    /// An earlier rule takes every event that this rule would take.
    Shadowed,
    /// The regular expression is slow.
    SlowRegex,
    /// A handling word that looks like a misspelt one.
    HandlingTypo,
}

impl LintCode {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shadowed => "shadowed",
            Self::SlowRegex => "slow_regex",
            Self::HandlingTypo => "handling_typo",
        }
    }
}

/// A warning about one rule of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintWarning {
    /// Name of the rule.
    pub rule: String,
    /// Kind of warning.
    pub code: LintCode,
    /// Path of the field inside `spec`.
    pub field: String,
    /// What was seen and what to do.
    pub message: String,
}

impl fmt::Display for LintWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.rule, self.field, self.message)
    }
}

/// Warnings about all rules of a set, in the order of its rules.
pub fn lint(_set: &RuleSet) -> Vec<LintWarning> {
    Vec::new()
}
