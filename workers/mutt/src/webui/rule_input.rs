//! A rule as a client sends it: each field checked for its type here, the rule as a whole by `mutt_rules`.

#![allow(clippy::option_option, reason = "absent, null and given are three different wishes of a client")]

use std::collections::BTreeMap;

use mutt_rules::{AlertSeverity, IssueCode, Mode, RuleIssue, RuleTest};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ApiError;
use super::input::Fields;
use crate::rules::row::{Extras, MatchType, RuleColumns};

/// Limit of the columns `varchar(100)`.
const WORD_CHARS_MAX: usize = 100;
/// Limit of `trap_oid varchar(255)`.
const OID_CHARS_MAX: usize = 255;
/// Kubernetes' limit of an object's name.
const NAME_CHARS_MAX: usize = 253;
/// Fields that a client may send back as it got them; they change nothing.
const READ_ONLY: [&str; 2] = ["id", "error"];

/// What a client asked for, and what it asked for in vain.
#[derive(Debug)]
pub(crate) struct RuleInput {
    /// The rule that results.
    pub(crate) rule: RuleColumns,
    /// For the configuration audit.
    pub(crate) reason: Option<String>,
    /// Remarks for the client: unknown fields, fields without effect.
    pub(crate) warnings: Vec<String>,
}

/// The rule of a POST. What is absent takes the column's default; handling and team are required.
pub(crate) fn create(fields: Fields) -> Result<RuleInput, ApiError> {
    for name in ["prod_handling", "dev_handling", "team_assignment"] {
        if !fields.has(name) {
            return Err(ApiError::field(name, "is required"));
        }
    }
    let blank = RuleColumns {
        name: None,
        match_string: None,
        trap_oid: None,
        syslog_severity: None,
        match_type: MatchType::Contains,
        priority: 100,
        prod_handling: String::new(),
        dev_handling: String::new(),
        team_assignment: String::new(),
        is_active: true,
        extras: Extras::default(),
    };
    let input = merge(fields, blank)?;
    reject(check(&input.rule))?;
    Ok(input)
}

/// The rule of a PUT: fields that are absent stay as they are. A fault that the rule had before does not stand in
/// the way, so that a broken rule can be switched off.
pub(crate) fn update(fields: Fields, old: &RuleColumns) -> Result<RuleInput, ApiError> {
    let input = merge(fields, old.clone())?;
    let before = check(old);
    let stays_off = !input.rule.is_active;
    let mut issues = check(&input.rule);
    issues.retain(|issue| !((stays_off || old.is_active) && before.contains(issue)));
    reject(issues)?;
    Ok(input)
}

fn merge(mut fields: Fields, mut rule: RuleColumns) -> Result<RuleInput, ApiError> {
    let reason = fields.reason()?;
    columns(&mut fields, &mut rule)?;
    extras(&mut fields, &mut rule)?;
    for name in READ_ONLY {
        fields.take(name);
    }
    let mut warnings: Vec<String> =
        fields.0.keys().map(|name| format!("{name}: unknown field, ignored")).take(20).collect();
    if rule.match_type == MatchType::OidPrefix && rule.match_string.is_some() {
        warnings.push("match_string: does not count with match_type oid_prefix".into());
    }
    Ok(RuleInput { rule, reason, warnings })
}

fn columns(fields: &mut Fields, rule: &mut RuleColumns) -> Result<(), ApiError> {
    if let Some(name) = fields.text("name", NAME_CHARS_MAX)? {
        rule.name = name.map(check_name).transpose()?;
    }
    if let Some(text) = pattern(fields, "match_string")? {
        rule.match_string = text;
    }
    if let Some(oid) = blank_is_none(fields, "trap_oid", OID_CHARS_MAX)? {
        rule.trap_oid = oid;
    }
    if let Some(severity) = fields.integer("syslog_severity", 0..=7)? {
        rule.syslog_severity = severity.map(|severity| severity as i32);
    }
    if let Some(word) = required(fields.text("match_type", 20)?, "match_type")? {
        let message = "must be contains, regex or oid_prefix";
        rule.match_type = MatchType::from_word(&word).ok_or_else(|| ApiError::field("match_type", message))?;
    }
    let range = i64::from(i32::MIN)..=i64::from(i32::MAX);
    if let Some(priority) = required(fields.integer("priority", range)?, "priority")? {
        rule.priority = priority as i32;
    }
    for (name, column) in [
        ("prod_handling", &mut rule.prod_handling),
        ("dev_handling", &mut rule.dev_handling),
        ("team_assignment", &mut rule.team_assignment),
    ] {
        if let Some(word) = required(fields.text(name, WORD_CHARS_MAX)?, name)? {
            *column = word;
        }
    }
    if let Some(active) = fields.boolean("is_active")? {
        rule.is_active = active;
    }
    Ok(())
}

fn extras(fields: &mut Fields, rule: &mut RuleColumns) -> Result<(), ApiError> {
    let extras = &mut rule.extras;
    typed(fields, "description", "must be a text", &mut extras.description)?;
    typed::<BTreeMap<String, String>>(fields, "labels", "must map texts to texts", &mut extras.labels)?;
    typed::<Vec<String>>(fields, "hosts", "must be a list of host names, globs or CIDRs", &mut extras.hosts)?;
    let severities = "must be Critical, Major, Warning, Minor, Info or Clear";
    typed::<AlertSeverity>(fields, "severity", severities, &mut extras.severity)?;
    typed::<Mode>(fields, "mode", "must be Active or Shadow", &mut extras.mode)?;
    typed::<Vec<RuleTest>>(fields, "tests", "must be a list of {event, expect: match or no_match}", &mut extras.tests)?;
    if let Some(severity) = fields.integer("atMost", 0..=7)? {
        extras.at_most = severity.map(|severity| severity as i32);
    }
    Ok(())
}

/// Takes a field into `target`; `null` means its default.
fn typed<T: DeserializeOwned + Default>(
    fields: &mut Fields,
    name: &str,
    message: &str,
    target: &mut T,
) -> Result<(), ApiError> {
    match fields.take(name) {
        None => {}
        Some(None) => *target = T::default(),
        Some(Some(value)) if holds_nul(&value) => return Err(ApiError::field(name, "must not contain a NUL byte")),
        Some(Some(value)) => {
            *target = serde_json::from_value(value).map_err(|_| ApiError::field(name, message))?;
        }
    }
    Ok(())
}

/// Absent is `None`; `null` is an error, since the column has none.
fn required<T>(value: Option<Option<T>>, name: &str) -> Result<Option<T>, ApiError> {
    match value {
        None => Ok(None),
        Some(Some(value)) => Ok(Some(value)),
        Some(None) => Err(ApiError::field(name, "must not be null")),
    }
}

/// A pattern: any characters but NUL; empty (as forms send it) means none. Its length is the rule's own limit.
fn pattern(fields: &mut Fields, name: &str) -> Result<Option<Option<String>>, ApiError> {
    match fields.take(name) {
        None => Ok(None),
        Some(None) => Ok(Some(None)),
        Some(Some(Value::String(text))) if text.contains('\0') => {
            Err(ApiError::field(name, "must not contain a NUL byte"))
        }
        Some(Some(Value::String(text))) => Ok(Some(Some(text).filter(|text| !text.is_empty()))),
        Some(Some(_)) => Err(ApiError::field(name, "must be a text")),
    }
}

fn blank_is_none(fields: &mut Fields, name: &str, chars_max: usize) -> Result<Option<Option<String>>, ApiError> {
    if fields.0.get(name).and_then(Value::as_str).is_some_and(|text| text.trim().is_empty()) {
        fields.take(name);
        return Ok(Some(None));
    }
    fields.text(name, chars_max)
}

/// A name that also Kubernetes takes (RFC 1123 subdomain), after `namespace/` if there is one.
fn check_name(name: String) -> Result<String, ApiError> {
    let good = |part: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        part.bytes().all(inner) && edge(part.as_bytes().first()) && edge(part.as_bytes().last())
    };
    let parts = name.split('/').count();
    if parts <= 2 && name.split('/').all(good) && !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(name);
    }
    let message = "must be of lower-case letters, digits, '-' and '.', not a number, with at most one namespace and '/' before it";
    Err(ApiError::field("name", message))
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A fault of a rule by the API's name of the field.
type Issue = (String, String);

/// All faults of a rule as a whole, its own tests included.
fn check(rule: &RuleColumns) -> Vec<Issue> {
    if rule.match_string.is_none() && rule.trap_oid.is_none() {
        return vec![("match_string".into(), "match_string or trap_oid is required".into())];
    }
    if rule.match_type == MatchType::OidPrefix && rule.trap_oid.is_none() {
        return vec![("trap_oid".into(), "is required with match_type oid_prefix".into())];
    }
    if rule.match_type == MatchType::Regex && rule.match_string.is_none() {
        return vec![("match_string".into(), "is required with match_type regex".into())];
    }
    let spec = rule.spec();
    let issues = mutt_rules::validate(&spec);
    if !issues.is_empty() {
        return issues.iter().map(api_issue).collect();
    }
    mutt_rules::run_tests(&spec)
        .iter()
        .map(|failure| (format!("tests[{}]", failure.index), failure.message.clone()))
        .collect()
}

fn reject(issues: Vec<Issue>) -> Result<(), ApiError> {
    match issues.into_iter().next() {
        None => Ok(()),
        Some((field, message)) => Err(ApiError::Field { field, message }),
    }
}

/// Translates the field of an AlertRule into the column's name.
fn api_issue(issue: &RuleIssue) -> Issue {
    let field = issue.field.trim_start_matches("spec.");
    let is = |prefix: &str| field.starts_with(prefix);
    let name = match () {
        () if is("match.message") => "match_string",
        () if is("match.trapOid") => "trap_oid",
        () if is("match.severity.atMost") => "atMost",
        () if is("match.severity") && issue.code == IssueCode::NotExactlyOne => "atMost",
        () if is("match.severity") => "syslog_severity",
        () if is("handling.production") => "prod_handling",
        () if is("handling.development") => "dev_handling",
        () if is("team") => "team_assignment",
        () if is("enabled") => "is_active",
        () if field == "match" => "match_string",
        () => field.trim_start_matches("match."),
    };
    let message = match (name, issue.code) {
        ("atMost", IssueCode::NotExactlyOne) => "must not be given together with syslog_severity".to_owned(),
        _ => issue.message.clone(),
    };
    (name.to_owned(), message)
}

#[cfg(test)]
#[path = "rule_input_tests.rs"]
mod tests;
