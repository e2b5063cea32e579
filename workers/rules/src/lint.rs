//! Warnings about rules that work but probably not as meant.

use std::collections::HashMap;
use std::fmt;

use crate::compile::pattern::Pattern;
use crate::compile::{Compiled, CompiledRule};
use crate::document::distance;
use crate::reach::{Claim, shadowed};
use crate::rule_set::{Rule, RuleSet};
use crate::spec::Handling;
use crate::validate::{FORWARDING_WORDS, is_forwarded};

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

/// Warnings about the enabled rules of a set that compile, in the order in which they are tried.
pub fn lint(set: &RuleSet) -> Vec<LintWarning> {
    let compiled = Compiled::build(set, None);
    let specs: HashMap<(Option<i32>, &str), &Rule> =
        set.rules().iter().map(|rule| ((rule.id, rule.name.as_str()), rule)).collect();
    let in_use: Vec<(&Rule, &CompiledRule)> = compiled
        .rules()
        .iter()
        .filter_map(|compiled| Some((*specs.get(&(compiled.id, compiled.name.as_str()))?, &**compiled)))
        .collect();
    let claims: Vec<Claim> = in_use.iter().map(|(rule, compiled)| Claim::new(&rule.spec, compiled.pattern())).collect();
    let shadowed = shadowed(&claims.iter().collect::<Vec<_>>());
    let mut warnings = Vec::new();
    for ((rule, compiled), earlier) in in_use.iter().zip(shadowed) {
        if let Some((earlier, _)) = earlier.and_then(|earlier| in_use.get(earlier)) {
            let message = format!(
                "rule `{}` is tried before and takes every event that this rule would take; give this one a lower priority number or remove it",
                earlier.name
            );
            warnings.push(warning(&rule.name, LintCode::Shadowed, "match", message));
        }
        warnings.extend(alone(&rule.name, &rule.spec.handling, compiled.pattern()));
    }
    warnings
}

/// Warnings that need no other rule.
pub(crate) fn alone(name: &str, handling: &Handling, pattern: Option<&Pattern>) -> Vec<LintWarning> {
    let mut warnings = Vec::new();
    if let Some(problem) = pattern.and_then(slowness) {
        warnings.push(warning(name, LintCode::SlowRegex, "match.message.regex", problem.to_owned()));
    }
    for (field, word) in
        [("handling.production", &handling.production), ("handling.development", &handling.development)]
    {
        if let Some(meant) = misspelt(word) {
            let message = format!("`{word}` forwards nothing; write `{meant}` if that is meant");
            warnings.push(warning(name, LintCode::HandlingTypo, field, message));
        }
    }
    warnings
}

fn warning(rule: &str, code: LintCode, field: &str, message: String) -> LintWarning {
    LintWarning { rule: rule.to_owned(), code, field: field.to_owned(), message }
}

fn slowness(pattern: &Pattern) -> Option<&'static str> {
    match pattern {
        Pattern::Backtracking(_) => Some(
            "look-around and back-references are slow and end after 10,000 steps, as no match; a regex without them, or two rules by priority, do the same",
        ),
        Pattern::Regex(_) if pattern.required().is_empty() => Some(
            "no text is required by this regex, so it is tried on every message; add a text that all wanted messages have",
        ),
        Pattern::Regex(regex) if !regex.is_table() => Some("this regex is large and slow; use smaller counts in {…}"),
        Pattern::Contains(_) | Pattern::Regex(_) => None,
    }
}

/// The forwarding word that was probably meant by a word that forwards nothing.
fn misspelt(word: &str) -> Option<&'static str> {
    let letters = |word: &str| word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
    let (given, plain) = (word.trim(), letters(word));
    let meant = |candidate: &&&str| {
        let wanted = letters(candidate);
        plain == wanted || wanted.strip_suffix("only") == Some(&plain) || distance(given, candidate) <= 2
    };
    if is_forwarded(word) || plain.is_empty() { None } else { FORWARDING_WORDS.iter().find(meant).copied() }
}
