//! What is wrong with a single rule, everything at once.

use std::fmt;

use crate::spec::AlertRuleSpec;

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

/// Whether a handling word sends the alert on: `Page_and_ticket`, `Page_only` or `Ticket_only`, case ignored.
pub fn is_forwarded(handling: &str) -> bool {
    ["Page_and_ticket", "Page_only", "Ticket_only"].iter().any(|word| word.eq_ignore_ascii_case(handling))
}

/// All faults of a rule; none means that it compiles.
pub fn validate(spec: &AlertRuleSpec) -> Vec<RuleIssue> {
    let mut issues = Vec::new();
    if spec.matches.message.is_none() && spec.matches.trap_oid.is_none() {
        issues.push(RuleIssue {
            code: IssueCode::NoCriterion,
            field: "match".to_owned(),
            message: "needs at least one of message and trapOid".to_owned(),
        });
    }
    issues
}
