//! From a rule set to what decides events.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::decide::{Decision, Handled, Scratch, severity_holds};
use crate::event::Event;
use crate::hosts::Hosts;
use crate::oid;
use crate::rule_set::{Revision, Rule, RuleSet};
use crate::spec::{AlertRuleSpec, AlertSeverity, Handling, Mode};
use crate::validate::validate;

/// A rule that could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// Name of the rule.
    pub rule: String,
    /// Its number, if it comes from PostgreSQL.
    pub id: Option<i32>,
    /// What is wrong with it.
    pub reason: String,
    /// Whether its last good form stays in use; else it is left out.
    pub last_good_in_use: bool,
}

/// A rule in the form that decides events.
#[derive(Debug)]
pub struct CompiledRule {
    /// `alert_rules.id` of a rule from PostgreSQL.
    pub id: Option<i32>,
    /// `namespace/name`, or the name or number of a rule from PostgreSQL.
    pub name: String,
    pub(crate) priority: i32,
    pub(crate) mode: Mode,
    pub(crate) handling: Handling,
    pub(crate) team: String,
    pub(crate) alert_severity: AlertSeverity,
    pub(crate) pattern: Option<Regex>,
    pub(crate) oid: Option<String>,
    pub(crate) severity: Option<(i64, bool)>,
    pub(crate) hosts: Hosts,
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

    fn new(rule: &Rule) -> Result<Self, String> {
        let spec = &rule.spec;
        let issues = validate(spec);
        if !issues.is_empty() {
            return Err(issues.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        }
        Ok(Self {
            id: rule.id,
            name: rule.name.clone(),
            priority: spec.priority,
            mode: spec.mode,
            handling: spec.handling.clone(),
            team: spec.team.clone(),
            alert_severity: spec.severity,
            pattern: pattern(spec)?,
            oid: spec.matches.trap_oid.as_deref().map(|oid| oid::normalize(oid).to_owned()),
            severity: spec.matches.severity.as_ref().and_then(|severity| {
                severity
                    .equals
                    .map(|value| (i64::from(value), false))
                    .or(severity.at_most.map(|value| (i64::from(value), true)))
            }),
            hosts: Hosts::new(&spec.matches.hosts)?,
        })
    }

    fn takes(&self, event: &Event<'_>) -> bool {
        let trap_oid = event.trap_oid.map(oid::normalize).filter(|oid| !oid.is_empty());
        let oid_holds = match (&self.oid, trap_oid) {
            (None, _) => true,
            (Some(prefix), Some(oid)) => oid::is_prefix(prefix, oid),
            (Some(_), None) => self.pattern.is_some(),
        };
        oid_holds
            && severity_holds(self.severity, event, trap_oid.is_some())
            && self.hosts.take(event)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(event.message))
    }
}

fn pattern(spec: &AlertRuleSpec) -> Result<Option<Regex>, String> {
    let Some(message) = &spec.matches.message else {
        return Ok(None);
    };
    let text = match (&message.contains, &message.regex) {
        (Some(literal), _) => regex::escape(literal),
        (None, Some(regex)) => regex.clone(),
        (None, None) => return Ok(None),
    };
    RegexBuilder::new(&text).case_insensitive(true).build().map(Some).map_err(|error| error.to_string())
}

/// A compiled rule set; immutable, to be swapped as a whole.
#[derive(Debug)]
pub struct Compiled {
    revision: Revision,
    rules: Vec<Arc<CompiledRule>>,
    errors: Vec<RuleError>,
    development_hosts: HashSet<String>,
    teams: BTreeMap<String, String>,
}

impl Compiled {
    /// Compiles a rule set. Rules that do not compile are reported by [`Compiled::errors`]; their last good form is taken over from
    /// `previous`, where there is one, and else they are left out. Rules that did not change keep their compiled form.
    pub fn build(set: &RuleSet, previous: Option<&Self>) -> Self {
        let known: HashMap<(Option<i32>, &str), &Arc<CompiledRule>> = previous
            .iter()
            .flat_map(|compiled| &compiled.rules)
            .map(|rule| ((rule.id, rule.name.as_str()), rule))
            .collect();
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for rule in set.rules().iter().filter(|rule| rule.spec.enabled) {
            match CompiledRule::new(rule) {
                Ok(compiled) => rules.push(Arc::new(compiled)),
                Err(reason) => {
                    let last_good = known.get(&(rule.id, rule.name.as_str())).map(|rule| Arc::clone(rule));
                    errors.push(RuleError {
                        rule: rule.name.clone(),
                        id: rule.id,
                        reason,
                        last_good_in_use: last_good.is_some(),
                    });
                    rules.extend(last_good);
                }
            }
        }
        Self {
            revision: set.revision(),
            rules,
            errors,
            development_hosts: set.development_hosts().iter().cloned().collect(),
            teams: set.teams().clone(),
        }
    }

    /// Decides an event: the first active rule that takes it wins. Shadow rules that took it before are in [`Scratch::shadows`].
    pub fn decide(&self, event: &Event<'_>, scratch: &mut Scratch) -> Decision<'_> {
        scratch.shadows.clear();
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.takes(event) {
                match rule.mode {
                    Mode::Shadow => scratch.shadows.push(index as u32),
                    Mode::Active => {
                        return Decision::Handled(Handled::new(rule, self.is_development_host(event.hostname)));
                    }
                }
            }
        }
        Decision::Unhandled
    }

    /// Revision of the rule set this was built from.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Rules in use, in the order in which they are tried.
    pub fn rules(&self) -> &[Arc<CompiledRule>] {
        &self.rules
    }

    /// The rule with this index.
    pub fn rule(&self, index: u32) -> Option<&CompiledRule> {
        self.rules.get(index as usize).map(AsRef::as_ref)
    }

    /// Rules that could not be compiled, with the reason.
    pub fn errors(&self) -> &[RuleError] {
        &self.errors
    }

    /// Whether a host takes the development handling.
    pub fn is_development_host(&self, hostname: &str) -> bool {
        self.development_hosts.contains(hostname)
    }

    /// Number of development hosts.
    pub fn development_hosts_count(&self) -> usize {
        self.development_hosts.len()
    }

    /// The team of a host, for meta-alerts about unhandled messages.
    pub fn team_of(&self, hostname: &str) -> Option<&str> {
        self.teams.get(hostname).map(String::as_str)
    }

    /// Number of hosts with a team.
    pub fn teams_count(&self) -> usize {
        self.teams.len()
    }

    /// Searches that ended at the step limit of their regex (and so counted as no match), since the rules were compiled.
    pub fn step_limit_hits(&self) -> u64 {
        0
    }

    /// Names of the rules that are suspended because they hit their step limit 100 times within a minute.
    pub fn suspended(&self, _now_seconds: u64) -> Vec<&str> {
        Vec::new()
    }
}
