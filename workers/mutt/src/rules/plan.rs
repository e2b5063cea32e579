//! What has to change so that PostgreSQL holds what the files say. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use mutt_rules::AlertRule;
use serde_json::Value;

use super::row::{RuleColumns, column_name};
use super::sources::Sources;

/// A rule that PostgreSQL holds.
#[derive(Debug)]
pub(super) struct ExistingRule {
    pub(super) id: i32,
    pub(super) name: Option<String>,
    /// None: the row is no rule.
    pub(super) columns: Option<RuleColumns>,
    /// The row as it is, for the configuration audit.
    pub(super) raw: Value,
}

/// What PostgreSQL holds.
#[derive(Debug, Default)]
pub(super) struct Existing {
    pub(super) rules: Vec<ExistingRule>,
    pub(super) hosts: BTreeSet<String>,
    pub(super) teams: BTreeMap<String, String>,
}

/// A rule that changes.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) id: i32,
    pub(super) old: Value,
    pub(super) new: RuleColumns,
}

/// A host whose team changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TeamChange {
    pub(super) host: String,
    /// None: the host had no team.
    pub(super) old: Option<String>,
    /// None: the host gets none.
    pub(super) new: Option<String>,
}

/// What has to change.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<RuleColumns>,
    pub(super) update: Vec<Update>,
    pub(super) unchanged: Vec<String>,
    /// Id and name.
    pub(super) delete: Vec<(i32, String)>,
    /// With pruning: rules without a name, which no file can speak of and which stay.
    pub(super) unnamed: Vec<i32>,
    pub(super) hosts_added: Vec<String>,
    pub(super) hosts_removed: Vec<String>,
    pub(super) teams: Vec<TeamChange>,
}

impl Plan {
    /// Compares. Rules are the same by name; `rule-<id>`, the name that the export gives a rule without one, is that
    /// rule.
    pub(super) fn new(existing: &Existing, sources: &Sources, prune: bool) -> Self {
        let mut plan = Self::default();
        let by_name: HashMap<&str, &ExistingRule> =
            existing.rules.iter().filter_map(|rule| Some((rule.name.as_deref()?, rule))).collect();
        let unnamed: HashMap<String, &ExistingRule> = existing
            .rules
            .iter()
            .filter(|rule| rule.name.is_none())
            .map(|rule| (format!("rule-{}", rule.id), rule))
            .collect();
        let mut spoken_of = HashSet::new();
        for rule in &sources.rules {
            let name = column_name(rule);
            match by_name.get(name.as_str()).or_else(|| unnamed.get(&name)) {
                None => plan.create.push(RuleColumns::from_alert_rule(rule)),
                Some(old) => {
                    spoken_of.insert(old.id);
                    plan.compare(old, rule, name);
                }
            }
        }
        if prune {
            for rule in existing.rules.iter().filter(|rule| !spoken_of.contains(&rule.id)) {
                match &rule.name {
                    Some(name) => plan.delete.push((rule.id, name.clone())),
                    None => plan.unnamed.push(rule.id),
                }
            }
        }
        plan.compare_pipeline(existing, sources, prune);
        plan
    }

    fn compare(&mut self, old: &ExistingRule, rule: &AlertRule, name: String) {
        let same = old.columns.as_ref().is_some_and(|columns| {
            let held = columns.alert_rule(old.id);
            held.spec == rule.spec && held.metadata.labels == rule.metadata.labels
        });
        if same {
            self.unchanged.push(name);
            return;
        }
        let new = RuleColumns { name: old.name.clone(), ..RuleColumns::from_alert_rule(rule) };
        self.update.push(Update { id: old.id, old: old.raw.clone(), new });
    }

    fn compare_pipeline(&mut self, existing: &Existing, sources: &Sources, prune: bool) {
        let Some(pipeline) = &sources.pipeline else { return };
        self.hosts_added = pipeline.hosts.difference(&existing.hosts).cloned().collect();
        if prune {
            self.hosts_removed = existing.hosts.difference(&pipeline.hosts).cloned().collect();
        }
        for (host, team) in &pipeline.teams {
            let old = existing.teams.get(host);
            if old != Some(team) {
                self.teams.push(TeamChange { host: host.clone(), old: old.cloned(), new: Some(team.clone()) });
            }
        }
        let gone = existing.teams.iter().filter(|(host, _)| prune && !pipeline.teams.contains_key(*host));
        self.teams.extend(gone.map(|(host, team)| TeamChange {
            host: host.clone(),
            old: Some(team.clone()),
            new: None,
        }));
    }

    /// Number of rows that change.
    pub(super) fn changes(&self) -> usize {
        self.create.len()
            + self.update.len()
            + self.delete.len()
            + self.hosts_added.len()
            + self.hosts_removed.len()
            + self.teams.len()
    }
}

impl Update {
    /// The columns that change.
    pub(super) fn fields(&self) -> Vec<String> {
        let Ok(Value::Object(new)) = self.new.audit_value() else { return Vec::new() };
        new.into_iter().filter(|(name, value)| self.old.get(name) != Some(value)).map(|(name, _)| name).collect()
    }

    /// The rule's name for people.
    pub(super) fn name(&self) -> String {
        self.new.name.clone().unwrap_or_else(|| format!("rule-{}", self.id))
    }
}
