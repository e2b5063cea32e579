//! One rule, compiled.

use sha2::{Digest, Sha256};

use super::engines::Caches;
use super::pattern::Pattern;
use crate::event::Event;
use crate::fold::fold;
use crate::hosts::Hosts;
use crate::oid;
use crate::rule_set::Rule;
use crate::spec::{AlertRuleSpec, AlertSeverity, Handling, Mode, SeverityMatch};
use crate::validate::{is_forwarded, validate_shape};

/// A rule in the form that decides events.
#[derive(Debug)]
pub struct CompiledRule {
    /// `alert_rules.id` of a rule from PostgreSQL.
    pub id: Option<i32>,
    /// `namespace/name`, or the name or number of a rule from PostgreSQL.
    pub name: String,
    priority: i32,
    mode: Mode,
    handling: Handling,
    forwards_production: bool,
    forwards_development: bool,
    team: String,
    alert_severity: AlertSeverity,
    pattern: Option<Pattern>,
    oid: Option<Box<str>>,
    severity: Option<Severity>,
    hosts: Hosts,
    fingerprint: Fingerprint,
}

/// SHA-256 over all fields that have a part in decisions: equal ones need no new compilation.
pub(crate) type Fingerprint = [u8; 32];

#[derive(Debug, Clone, Copy)]
enum Severity {
    Equals(i64),
    AtMost(i64),
}

/// An event, looked at once for all rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'e> {
    pub(crate) event: Event<'e>,
    pub(crate) is_ascii: bool,
    /// Normalized.
    pub(crate) trap_oid: Option<&'e str>,
    pub(crate) now_seconds: u64,
}

impl<'e> Seen<'e> {
    pub(crate) fn new(event: &Event<'e>, now_seconds: u64) -> Self {
        let trap_oid = event.trap_oid.map(oid::normalize).filter(|oid| !oid.is_empty());
        Self { event: *event, is_ascii: event.message.is_ascii(), trap_oid, now_seconds }
    }
}

impl CompiledRule {
    /// Order among the rules, lower first.
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// Active or Shadow.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Handling words as given.
    pub fn handling(&self) -> &Handling {
        &self.handling
    }

    /// Whether alerts are sent on, for development hosts or for all others.
    pub fn forwards(&self, development: bool) -> bool {
        if development { self.forwards_development } else { self.forwards_production }
    }

    /// The team alerts are assigned to.
    pub fn team(&self) -> &str {
        &self.team
    }

    /// Severity of alerts.
    pub fn alert_severity(&self) -> AlertSeverity {
        self.alert_severity
    }

    /// Searches of this rule that ended at the step limit.
    pub fn step_limit_hits(&self) -> u64 {
        self.pattern.as_ref().and_then(Pattern::step_limit).map_or(0, super::step_limit::StepLimit::hits)
    }

    /// Whether the rule is suspended for having hit its step limit too often.
    pub fn is_suspended(&self, now_seconds: u64) -> bool {
        self.pattern.as_ref().and_then(Pattern::step_limit).is_some_and(|limit| limit.is_suspended(now_seconds))
    }

    pub(crate) fn new(rule: &Rule) -> Result<Self, String> {
        let spec = &rule.spec;
        let mut reasons: Vec<String> = validate_shape(spec).iter().map(ToString::to_string).collect();
        let pattern = match spec.matches.message.as_ref().map(Pattern::new).transpose() {
            Ok(pattern) => pattern.flatten(),
            Err(error) => {
                reasons.push(format!("match.message.regex: {}", error.message));
                None
            }
        };
        let hosts = Hosts::new(&spec.matches.hosts).unwrap_or_default();
        if !reasons.is_empty() {
            return Err(reasons.join("; "));
        }
        Ok(Self {
            id: rule.id,
            name: rule.name.clone(),
            priority: spec.priority,
            mode: spec.mode,
            handling: spec.handling.clone(),
            forwards_production: is_forwarded(&spec.handling.production),
            forwards_development: is_forwarded(&spec.handling.development),
            team: spec.team.clone(),
            alert_severity: spec.severity,
            pattern,
            oid: spec.matches.trap_oid.as_deref().map(|oid| oid::normalize(oid).into()),
            severity: spec.matches.severity.as_ref().and_then(severity),
            hosts,
            fingerprint: fingerprint(spec),
        })
    }

    pub(crate) fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// The OID prefix of a rule that has no message criterion.
    pub(crate) fn lone_oid(&self) -> Option<&str> {
        if self.pattern.is_none() { self.oid.as_deref() } else { None }
    }

    pub(crate) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Whether all criteria but the message's hold.
    pub(crate) fn other_criteria_hold(&self, seen: &Seen<'_>) -> bool {
        let oid_holds = match (&self.oid, seen.trap_oid) {
            (None, _) => true,
            (Some(prefix), Some(oid)) => oid::is_prefix(prefix, oid),
            // Without an OID the message decides; a rule that has only an OID takes traps only.
            (Some(_), None) => self.pattern.is_some(),
        };
        let severity_holds = match (self.severity, seen.event.syslog_severity) {
            (None, _) => true,
            (Some(Severity::Equals(wanted)), Some(severity)) => severity == wanted,
            (Some(Severity::AtMost(wanted)), Some(severity)) => severity <= wanted,
            (Some(_), None) => seen.trap_oid.is_some(),
        };
        oid_holds && severity_holds && self.hosts.take(&seen.event)
    }

    /// Whether the message criterion, if there is one, holds.
    pub(crate) fn message_holds(&self, seen: &Seen<'_>, caches: &mut Caches) -> bool {
        match &self.pattern {
            Some(Pattern::Regex(regex)) => regex.is_match(seen.event.message, seen.is_ascii, caches),
            Some(Pattern::Backtracking(regex)) => regex.is_match(seen.event.message, seen.now_seconds),
            Some(Pattern::Contains(text)) => fold(seen.event.message).contains(&**text),
            None => true,
        }
    }
}

fn severity(criterion: &SeverityMatch) -> Option<Severity> {
    let equals = criterion.equals.map(|value| Severity::Equals(i64::from(value)));
    equals.or(criterion.at_most.map(|value| Severity::AtMost(i64::from(value))))
}

pub(crate) fn fingerprint(spec: &AlertRuleSpec) -> Fingerprint {
    let decisive = AlertRuleSpec { description: String::new(), tests: Vec::new(), ..spec.clone() };
    let json = serde_json::to_vec(&decisive)
        .unwrap_or_else(|error| unreachable!("strings and numbers always serialise: {error}"));
    Sha256::digest(&json).into()
}
