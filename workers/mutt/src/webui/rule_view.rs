//! A rule as the API shows it.

use mutt_rules::{AlertSeverity, Mode, RuleTest};
use serde::Serialize;
use utoipa::ToSchema;

use crate::rules::row::{MatchType, RowError, RuleColumns};

/// A rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleView {
    /// Number of the rule; null for a rule that is not kept in PostgreSQL.
    id: Option<i32>,
    /// Unique name, if the rule has one.
    name: Option<String>,
    /// Text or regular expression that is looked for in the message, case ignored.
    match_string: Option<String>,
    /// Prefix of the trap's OID, by whole arcs.
    trap_oid: Option<String>,
    /// Syslog severity, 0 to 7.
    syslog_severity: Option<i32>,
    /// How `match_string` is compared; with `oid_prefix` only `trap_oid` counts.
    #[schema(value_type = MatchTypeWord)]
    match_type: MatchType,
    /// The lower is tried first.
    priority: i32,
    /// Handling on production hosts.
    prod_handling: String,
    /// Handling on development hosts.
    dev_handling: String,
    /// Team of the alert.
    team_assignment: String,
    /// Whether the rule takes part.
    is_active: bool,
    /// What the rule is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    description: String,
    /// Host names, globs or CIDRs the rule is limited to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    hosts: Vec<String>,
    /// This syslog severity or a more urgent one.
    #[serde(rename = "atMost", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    at_most: Option<i32>,
    /// Severity of the alert; Warning if absent.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(value_type = Option<String>, nullable = false)]
    severity: AlertSeverity,
    /// `Shadow`: matches are counted and nothing more; Active if absent.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(value_type = Option<String>, nullable = false)]
    mode: Mode,
    /// Sample events with the expected result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>, required = false)]
    tests: Vec<RuleTest>,
    /// Why the row is no rule and takes no part.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `contains`, `regex` or `oid_prefix`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "read by the OpenAPI document only")]
pub(crate) enum MatchTypeWord {
    /// The message contains the text.
    Contains,
    /// The message matches the regular expression.
    Regex,
    /// The trap's OID has the prefix.
    OidPrefix,
}

/// All rules in the order in which they are tried.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleList {
    pub(crate) rules: Vec<RuleView>,
}

/// The view of a rule.
pub(crate) fn view(id: Option<i32>, rule: RuleColumns) -> RuleView {
    RuleView {
        id,
        name: rule.name,
        match_string: rule.match_string,
        trap_oid: rule.trap_oid,
        syslog_severity: rule.syslog_severity,
        match_type: rule.match_type,
        priority: rule.priority,
        prod_handling: rule.prod_handling,
        dev_handling: rule.dev_handling,
        team_assignment: rule.team_assignment,
        is_active: rule.is_active,
        description: rule.extras.description,
        hosts: rule.extras.hosts,
        at_most: rule.extras.at_most,
        severity: rule.extras.severity,
        mode: rule.extras.mode,
        tests: rule.extras.tests,
        error: None,
    }
}

/// A row that somebody wrote past MUTT: it takes no part, and says why.
pub(crate) fn unreadable(id: i32, error: &RowError) -> RuleView {
    RuleView {
        id: Some(id),
        name: None,
        match_string: None,
        trap_oid: None,
        syslog_severity: None,
        match_type: MatchType::Contains,
        priority: 0,
        prod_handling: String::new(),
        dev_handling: String::new(),
        team_assignment: String::new(),
        is_active: false,
        description: String::new(),
        hosts: Vec::new(),
        at_most: None,
        severity: AlertSeverity::default(),
        mode: Mode::default(),
        tests: Vec::new(),
        error: Some(error.to_string()),
    }
}
