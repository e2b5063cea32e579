//! What is wrong with a single rule, everything at once.

use std::fmt;

use crate::compile::pattern::{Pattern, PatternError};
use crate::spec::{AlertRuleSpec, Match};
use crate::{hosts, oid};

/// Kind of a fault; one word for logs, labels and the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssueCode {
    /// Neither `message` nor `trapOid`.
    NoCriterion,
    /// Not exactly one of two fields.
    NotExactlyOne,
    /// A required text is empty.
    Empty,
    /// A text or list is over its limit.
    TooLong,
    /// A number is outside its range.
    OutOfRange,
    /// Not an OID.
    Oid,
    /// Not a host name, glob or CIDR.
    Host,
    /// The regular expression does not compile.
    Regex,
    /// The regular expression is too large once compiled.
    RegexTooLarge,
}

impl IssueCode {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoCriterion => "no_criterion",
            Self::NotExactlyOne => "not_exactly_one",
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::OutOfRange => "out_of_range",
            Self::Oid => "oid",
            Self::Host => "host",
            Self::Regex => "regex",
            Self::RegexTooLarge => "regex_too_large",
        }
    }
}

/// A fault of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleIssue {
    /// Kind of fault.
    pub code: IssueCode,
    /// Path of the field inside `spec`, like `match.hosts[2]`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for RuleIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Handling words that send the alert on.
pub(crate) const FORWARDING_WORDS: [&str; 3] = ["Page_and_ticket", "Page_only", "Ticket_only"];

/// Whether a handling word sends the alert on: `Page_and_ticket`, `Page_only` or `Ticket_only`, case ignored.
pub fn is_forwarded(handling: &str) -> bool {
    FORWARDING_WORDS.iter().any(|word| word.eq_ignore_ascii_case(handling))
}

/// Bytes of a message text or regex.
const PATTERN_BYTES_MAX: usize = 4096;
/// Bytes of an OID, as wide as the column of 2.x.
const OID_BYTES_MAX: usize = 255;
/// Characters of a team or handling word, as wide as their columns.
const WORD_CHARS_MAX: usize = 100;
const DESCRIPTION_CHARS_MAX: usize = 1024;
const HOSTS_MAX: usize = 256;
const HOST_BYTES_MAX: usize = 255;
const TESTS_MAX: usize = 50;

/// All faults of a rule; none means that it compiles.
pub fn validate(spec: &AlertRuleSpec) -> Vec<RuleIssue> {
    let mut issues = validate_shape(spec);
    if let Some(Err(error)) = spec.matches.message.as_ref().map(Pattern::new) {
        issues.push(pattern_issue(error));
    }
    issues
}

pub(crate) fn pattern_issue(error: PatternError) -> RuleIssue {
    RuleIssue { code: error.code, field: "match.message.regex".to_owned(), message: error.message }
}

/// All faults but those that only the compilation of a regex can show.
pub(crate) fn validate_shape(spec: &AlertRuleSpec) -> Vec<RuleIssue> {
    let mut issues = Issues::default();
    issues.length("description", spec.description.chars().count(), DESCRIPTION_CHARS_MAX, "characters");
    issues.word("team", &spec.team);
    for (field, word) in
        [("handling.production", &spec.handling.production), ("handling.development", &spec.handling.development)]
    {
        issues.length(field, word.chars().count(), WORD_CHARS_MAX, "characters");
    }
    issues.length("tests", spec.tests.len(), TESTS_MAX, "tests");
    criteria(&spec.matches, &mut issues);
    issues.0
}

fn criteria(matches: &Match, issues: &mut Issues) {
    if matches.message.is_none() && matches.trap_oid.is_none() {
        issues.add(IssueCode::NoCriterion, "match", "needs at least one of message and trapOid");
    }
    if let Some(message) = &matches.message {
        if message.contains.is_some() == message.regex.is_some() {
            issues.add(IssueCode::NotExactlyOne, "match.message", "needs exactly one of contains and regex");
        }
        for (field, text) in [("match.message.contains", &message.contains), ("match.message.regex", &message.regex)] {
            if let Some(text) = text {
                issues.length(field, text.len(), PATTERN_BYTES_MAX, "bytes");
                if text.is_empty() {
                    issues.add(IssueCode::Empty, field, "is empty and would take every message; give a text");
                }
            }
        }
    }
    if let Some(oid) = &matches.trap_oid {
        issues.length("match.trapOid", oid.len(), OID_BYTES_MAX, "bytes");
        if let Some(problem) = oid::problem(oid::normalize(oid)) {
            issues.add(
                IssueCode::Oid,
                "match.trapOid",
                format!("`{oid}` {problem}; an OID looks like 1.3.6.1.2.1.15.7"),
            );
        }
    }
    if let Some(severity) = &matches.severity {
        if severity.equals.is_some() == severity.at_most.is_some() {
            issues.add(IssueCode::NotExactlyOne, "match.severity", "needs exactly one of equals and atMost");
        }
        for (field, value) in [("match.severity.equals", severity.equals), ("match.severity.atMost", severity.at_most)]
        {
            if let Some(value) = value.filter(|value| !(0..=7).contains(value)) {
                let message = format!("is {value}; a syslog severity is 0 (emergency) to 7 (debug)");
                issues.add(IssueCode::OutOfRange, field, message);
            }
        }
    }
    issues.length("match.hosts", matches.hosts.len(), HOSTS_MAX, "entries");
    for (index, host) in matches.hosts.iter().enumerate() {
        let field = format!("match.hosts[{index}]");
        issues.length(&field, host.len(), HOST_BYTES_MAX, "bytes");
        if let Some(problem) = hosts::problem(host) {
            issues.add(IssueCode::Host, &field, problem);
        }
    }
}

/// Faults found so far.
#[derive(Default)]
struct Issues(Vec<RuleIssue>);

impl Issues {
    fn add(&mut self, code: IssueCode, field: &str, message: impl Into<String>) {
        self.0.push(RuleIssue { code, field: field.to_owned(), message: message.into() });
    }

    fn length(&mut self, field: &str, length: usize, length_max: usize, unit: &str) {
        if length > length_max {
            self.add(IssueCode::TooLong, field, format!("has {length} {unit}, at most {length_max} are allowed"));
        }
    }

    /// A word that must be there and fit its column.
    fn word(&mut self, field: &str, word: &str) {
        self.length(field, word.chars().count(), WORD_CHARS_MAX, "characters");
        if word.trim().is_empty() {
            self.add(IssueCode::Empty, field, "is empty");
        }
    }
}
