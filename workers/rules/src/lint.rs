//! Warnings about rules that work but probably not as meant.

use std::collections::HashMap;
use std::fmt;

use crate::compile::pattern::Pattern;
use crate::compile::{Compiled, CompiledRule};
use crate::document::distance;
use crate::fold::fold;
use crate::hosts::Hosts;
use crate::oid;
use crate::rule_set::{Rule, RuleSet};
use crate::spec::{Match, SeverityMatch};
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
    let shadows = Shadows::new(&compiled, &in_use);
    let mut warnings = Vec::new();
    for (index, (rule, compiled)) in in_use.iter().enumerate() {
        let mut warn = |code, field: &str, message| {
            warnings.push(LintWarning { rule: rule.name.clone(), code, field: field.to_owned(), message });
        };
        if let Some(earlier) = shadows.of(index) {
            warn(
                LintCode::Shadowed,
                "match",
                format!(
                    "rule `{}` is tried before and takes every event that this rule would take; give this one a lower priority number or remove it",
                    earlier.name
                ),
            );
        }
        if let Some(problem) = compiled.pattern().and_then(slowness) {
            warn(LintCode::SlowRegex, "match.message.regex", problem.to_owned());
        }
        let handling = &rule.spec.handling;
        for (field, word) in
            [("handling.production", &handling.production), ("handling.development", &handling.development)]
        {
            if let Some(meant) = misspelt(word) {
                warn(
                    LintCode::HandlingTypo,
                    field,
                    format!("`{word}` forwards nothing; write `{meant}` if that is meant"),
                );
            }
        }
    }
    warnings
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

/// Finds for a rule an earlier one that takes all its events, where that can be proven.
struct Shadows<'r> {
    compiled: &'r Compiled,
    rules: &'r [(&'r Rule, &'r CompiledRule)],
    by_regex: HashMap<&'r str, Vec<u32>>,
}

impl<'r> Shadows<'r> {
    fn new(compiled: &'r Compiled, rules: &'r [(&'r Rule, &'r CompiledRule)]) -> Self {
        let mut by_regex: HashMap<&str, Vec<u32>> = HashMap::new();
        for (index, (rule, _)) in rules.iter().enumerate() {
            if let Some(regex) = rule.spec.matches.message.as_ref().and_then(|message| message.regex.as_deref()) {
                by_regex.entry(regex).or_default().push(index as u32);
            }
        }
        Self { compiled, rules, by_regex }
    }

    fn of(&self, index: usize) -> Option<&'r Rule> {
        let (rule, compiled) = self.rules[index];
        let mut candidates: Vec<u32> = Vec::new();
        let texts = texts(rule, compiled);
        if let Some(text) = texts.first() {
            self.compiled.index.scan(text, |waiting, _, _| {
                candidates.extend(waiting.iter().map(|waiting| waiting.rule));
                true
            });
        }
        if let Some(regex) = rule.spec.matches.message.as_ref().and_then(|message| message.regex.as_deref()) {
            candidates.extend(self.by_regex.get(regex).into_iter().flatten());
        }
        if let Some(oid) = compiled.lone_oid() {
            self.compiled.index.by_oid(oid, |rules| candidates.extend_from_slice(rules));
        }
        candidates.retain(|candidate| (*candidate as usize) < index);
        candidates.sort_unstable();
        candidates.dedup();
        candidates
            .into_iter()
            .map(|candidate| self.rules[candidate as usize].0)
            .find(|earlier| earlier.spec.is_active() && covers(&earlier.spec.matches, &rule.spec.matches, &texts))
    }
}

/// Folded texts of which every message that the rule takes contains one.
fn texts(rule: &Rule, compiled: &CompiledRule) -> Vec<String> {
    let contains = rule.spec.matches.message.as_ref().and_then(|message| message.contains.as_deref());
    if let Some(text) = contains {
        return vec![fold(text)];
    }
    let set = compiled.pattern().and_then(|pattern| pattern.required().first());
    set.into_iter().flatten().map(ToString::to_string).collect()
}

/// Whether `earlier` takes every event that `later`, whose messages contain one of `texts`, takes.
fn covers(earlier: &Match, later: &Match, texts: &[String]) -> bool {
    let message = match (&earlier.message, &later.message) {
        (None, None) => true,
        // With a message criterion the later rule takes events without an OID, too.
        (None, Some(_)) | (Some(_), None) => false,
        (Some(earlier), Some(later)) => match (&earlier.contains, &earlier.regex) {
            (Some(text), _) => !texts.is_empty() && texts.iter().all(|longer| longer.contains(&fold(text))),
            (None, regex) => regex.is_some() && *regex == later.regex,
        },
    };
    let oid = match (&earlier.trap_oid, &later.trap_oid) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(prefix), Some(oid)) => oid::is_prefix(oid::normalize(prefix), oid::normalize(oid)),
    };
    message
        && oid
        && severity_covers(earlier.severity.as_ref(), later.severity.as_ref())
        && hosts_cover(&earlier.hosts, &later.hosts)
}

fn severity_covers(earlier: Option<&SeverityMatch>, later: Option<&SeverityMatch>) -> bool {
    let (Some(earlier), later) = (earlier, later) else { return true };
    let Some(later) = later else { return false };
    match (earlier.equals, earlier.at_most, later.equals.or(later.at_most)) {
        (Some(value), _, _) => later.equals == Some(value),
        (None, Some(bound), Some(value)) => value <= bound,
        (None, _, _) => false,
    }
}

fn hosts_cover(earlier: &[String], later: &[String]) -> bool {
    if earlier.is_empty() {
        return true;
    }
    let Ok(hosts) = Hosts::new(earlier) else { return false };
    !later.is_empty()
        && later.iter().all(|entry| {
            earlier.iter().any(|other| other.trim().eq_ignore_ascii_case(entry.trim()))
                || hosts.take_plain_name(entry.trim())
        })
}
