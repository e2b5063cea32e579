//! A rule as PostgreSQL keeps it (`alert_rules`) and as the rest of MUTT knows it (`AlertRuleSpec`), both ways.
//!
//! Columns hold what MUTT 2.x knew; the column `spec` holds the rest as a JSON object ([`Extras`]).

use std::collections::BTreeMap;

use mutt_rules::{
    AlertRule, AlertRuleSpec, AlertSeverity, Handling, Match, MessageMatch, Mode, Rule, RuleTest, SeverityMatch,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::PgRow;

/// How `match_string` or `trap_oid` is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MatchType {
    /// `match_string` is a text that the message contains.
    Contains,
    /// `match_string` is a regular expression.
    Regex,
    /// Only `trap_oid` counts.
    OidPrefix,
}

impl MatchType {
    /// The word of the column, if it is one.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "contains" => Some(Self::Contains),
            "regex" => Some(Self::Regex),
            "oid_prefix" => Some(Self::OidPrefix),
            _ => None,
        }
    }

    /// The word as the column holds it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::Regex => "regex",
            Self::OidPrefix => "oid_prefix",
        }
    }
}

/// The fields of an AlertRule without a column of their own. Members that are unknown here are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Extras {
    /// What the rule is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// Labels of the AlertRule, kept for the export.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Host names, globs or CIDRs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hosts: Vec<String>,
    /// This syslog severity or a more urgent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<i32>,
    /// Severity of the alert.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) severity: AlertSeverity,
    /// Active or Shadow.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) mode: Mode,
    /// The rule's own tests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tests: Vec<RuleTest>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a rule's row holds beside its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleColumns {
    /// Unique name, or none for a rule that was made by its number only.
    pub(crate) name: Option<String>,
    /// Text or regular expression of the message criterion.
    pub(crate) match_string: Option<String>,
    /// OID prefix.
    pub(crate) trap_oid: Option<String>,
    /// Syslog severity, 0 to 7.
    pub(crate) syslog_severity: Option<i32>,
    /// How `match_string` is compared.
    pub(crate) match_type: MatchType,
    /// Lower is tried first.
    pub(crate) priority: i32,
    /// Handling on production hosts.
    pub(crate) prod_handling: String,
    /// Handling on development hosts.
    pub(crate) dev_handling: String,
    /// Team of the alert.
    pub(crate) team_assignment: String,
    /// Whether the rule takes part.
    pub(crate) is_active: bool,
    /// The rest.
    pub(crate) extras: Extras,
}

/// A row that is no rule.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// The column `match_type` holds another word.
    #[error("match_type: must be contains, regex or oid_prefix, not '{0}'")]
    MatchType(String),
    /// The column `spec` is not what [`Extras`] says.
    #[error("spec: {0}")]
    Spec(#[from] serde_json::Error),
    /// A column is missing or has another type.
    #[error("{0}")]
    Column(#[from] sqlx::Error),
}

impl RuleColumns {
    /// Reads the row of `alert_rules`: its id and the rest.
    pub(crate) fn read(row: &PgRow) -> Result<(i32, Self), RowError> {
        let word: String = row.try_get("match_type")?;
        let spec: Option<Value> = row.try_get("spec")?;
        let columns = Self {
            name: row.try_get("name")?,
            match_string: row.try_get("match_string")?,
            trap_oid: row.try_get("trap_oid")?,
            syslog_severity: row.try_get("syslog_severity")?,
            match_type: MatchType::from_word(&word).ok_or(RowError::MatchType(word))?,
            priority: row.try_get::<Option<i32>, _>("priority")?.unwrap_or(100),
            prod_handling: row.try_get("prod_handling")?,
            dev_handling: row.try_get("dev_handling")?,
            team_assignment: row.try_get("team_assignment")?,
            is_active: row.try_get::<Option<bool>, _>("is_active")?.unwrap_or(true),
            extras: spec.filter(|spec| !spec.is_null()).map(serde_json::from_value).transpose()?.unwrap_or_default(),
        };
        Ok((row.try_get("id")?, columns))
    }

    /// The value of the column `spec`: none if there is nothing to say.
    pub(crate) fn spec_column(&self) -> Result<Option<Value>, serde_json::Error> {
        if self.extras == Extras::default() {
            return Ok(None);
        }
        serde_json::to_value(&self.extras).map(Some)
    }

    /// The row as JSON, for the configuration audit.
    pub(crate) fn audit_value(&self) -> Result<Value, serde_json::Error> {
        Ok(json!({
            "name": self.name, "match_string": self.match_string, "trap_oid": self.trap_oid,
            "syslog_severity": self.syslog_severity, "match_type": self.match_type, "priority": self.priority,
            "prod_handling": self.prod_handling, "dev_handling": self.dev_handling,
            "team_assignment": self.team_assignment, "is_active": self.is_active, "spec": self.spec_column()?,
        }))
    }

    /// The rule as all of MUTT knows it. With `oid_prefix` the message does not count; such a row without
    /// `trap_oid`, which MUTT 2.x allowed, has its OID in `match_string`.
    pub(crate) fn spec(&self) -> AlertRuleSpec {
        let oid_only = self.match_type == MatchType::OidPrefix;
        let message = self.match_string.clone().filter(|_| !oid_only);
        let message = message.map(|text| match self.match_type {
            MatchType::Regex => MessageMatch { contains: None, regex: Some(text) },
            MatchType::Contains | MatchType::OidPrefix => MessageMatch { contains: Some(text), regex: None },
        });
        let fallback_oid = self.match_string.clone().filter(|_| oid_only);
        let severity = SeverityMatch { equals: self.syslog_severity, at_most: self.extras.at_most };
        AlertRuleSpec {
            description: self.extras.description.clone(),
            priority: self.priority,
            enabled: self.is_active,
            mode: self.extras.mode,
            matches: Match {
                message,
                trap_oid: self.trap_oid.clone().or(fallback_oid),
                severity: (severity != SeverityMatch::default()).then_some(severity),
                hosts: self.extras.hosts.clone(),
            },
            handling: Handling { production: self.prod_handling.clone(), development: self.dev_handling.clone() },
            severity: self.extras.severity,
            team: self.team_assignment.clone(),
            tests: self.extras.tests.clone(),
        }
    }

    /// The rule of a rule set.
    pub(crate) fn rule(&self, id: i32) -> Rule {
        Rule { id: Some(id), name: self.name.clone().unwrap_or_else(|| id.to_string()), spec: self.spec() }
    }

    /// The row of an AlertRule. A namespace is part of the name.
    pub(crate) fn from_alert_rule(rule: &AlertRule) -> Self {
        let spec = &rule.spec;
        let message = spec.matches.message.clone().unwrap_or_default();
        let (match_type, match_string) = match (message.regex, message.contains) {
            (Some(regex), _) => (MatchType::Regex, Some(regex)),
            (None, Some(text)) => (MatchType::Contains, Some(text)),
            (None, None) => (MatchType::OidPrefix, None),
        };
        let severity = spec.matches.severity.clone().unwrap_or_default();
        Self {
            name: Some(column_name(rule)),
            match_string,
            trap_oid: spec.matches.trap_oid.clone(),
            syslog_severity: severity.equals,
            match_type,
            priority: spec.priority,
            prod_handling: spec.handling.production.clone(),
            dev_handling: spec.handling.development.clone(),
            team_assignment: spec.team.clone(),
            is_active: spec.enabled,
            extras: Extras {
                description: spec.description.clone(),
                labels: rule.metadata.labels.clone(),
                hosts: spec.matches.hosts.clone(),
                at_most: severity.at_most,
                severity: spec.severity,
                mode: spec.mode,
                tests: spec.tests.clone(),
            },
        }
    }

    /// The row as an AlertRule. A rule without a name is called by its number.
    pub(crate) fn alert_rule(&self, id: i32) -> AlertRule {
        let name = self.name.clone().unwrap_or_else(|| format!("rule-{id}"));
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name.to_owned()),
            None => (None, name),
        };
        let mut rule = AlertRule::new(name, namespace, self.spec());
        rule.metadata.labels = self.extras.labels.clone();
        rule
    }
}

/// The value of the column `name`: the AlertRule's name, after its namespace if it has one.
pub(crate) fn column_name(rule: &AlertRule) -> String {
    match &rule.metadata.namespace {
        Some(namespace) => format!("{namespace}/{}", rule.metadata.name),
        None => rule.metadata.name.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn alert_rule() -> AlertRule {
        serde_json::from_value(json!({
            "apiVersion": "mutt.dev/v1alpha1", "kind": "AlertRule",
            "metadata": {"name": "bgp", "namespace": "netops", "labels": {"pipeline": "core"}},
            "spec": {
                "description": "BGP session lost", "priority": 7, "mode": "Shadow",
                "match": {"message": {"regex": "neighbor .* Down"}, "trapOid": "1.3.6.1",
                          "severity": {"atMost": 3}, "hosts": ["core-*"]},
                "handling": {"production": "Page_and_ticket", "development": "Ticket_only"},
                "severity": "Critical", "team": "NETO",
                "tests": [{"event": {"message": "neighbor x Down"}, "expect": "match"}]
            }
        }))
        .unwrap()
    }

    #[test]
    fn an_alert_rule_survives_its_row() {
        let rule = alert_rule();
        let row = RuleColumns::from_alert_rule(&rule);
        assert_eq!(row.name.as_deref(), Some("netops/bgp"));
        assert_eq!(row.alert_rule(3), rule);
        let stored: Extras = serde_json::from_value(row.spec_column().unwrap().unwrap()).unwrap();
        assert_eq!(stored, row.extras);
    }

    #[test]
    fn a_rule_with_columns_only_has_no_spec() {
        let mut rule = alert_rule();
        rule.metadata.labels.clear();
        rule.spec = AlertRuleSpec {
            description: String::new(),
            mode: Mode::Active,
            severity: AlertSeverity::Warning,
            tests: Vec::new(),
            ..rule.spec
        };
        rule.spec.matches.hosts.clear();
        rule.spec.matches.severity = Some(SeverityMatch { equals: Some(0), at_most: None });
        let row = RuleColumns::from_alert_rule(&rule);
        assert_eq!(row.spec_column().unwrap(), None);
        assert_eq!(row.syslog_severity, Some(0));
        assert_eq!(row.alert_rule(1), rule);
    }

    #[test]
    fn oid_prefix_leaves_the_message_out() {
        let mut row = RuleColumns::from_alert_rule(&alert_rule());
        row.match_type = MatchType::OidPrefix;
        row.match_string = Some("1.3.6.1.4".into());
        assert_eq!(row.spec().matches.message, None);
        assert_eq!(row.spec().matches.trap_oid.as_deref(), Some("1.3.6.1"));
        row.trap_oid = None;
        assert_eq!(row.spec().matches.trap_oid.as_deref(), Some("1.3.6.1.4"));
    }

    #[test]
    fn unknown_members_of_spec_are_ignored_and_wrong_ones_are_errors() {
        let known: Extras = serde_json::from_value(json!({"hosts": ["a"], "later": 1})).unwrap();
        assert_eq!(known.hosts, ["a"]);
        assert!(serde_json::from_value::<Extras>(json!({"hosts": "a"})).is_err());
        assert!(serde_json::from_value::<Extras>(json!({"mode": "Sleeping"})).is_err());
    }
}
