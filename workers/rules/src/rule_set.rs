//! The rule set as one canonical document with its revision.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::document::{Document, Object};
use crate::spec::{AlertRule, AlertRuleSpec};

/// One rule of a set, whatever its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `alert_rules.id` of a rule from PostgreSQL, none for an AlertRule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i32>,
    /// `namespace/name` of an AlertRule; the name, else the number, of a rule from PostgreSQL.
    pub name: String,
    /// What it matches and what follows.
    pub spec: AlertRuleSpec,
}

impl Rule {
    /// The order in which rules are tried: priority, then PostgreSQL rules by id, then AlertRules by namespace and name.
    pub fn order(&self, other: &Self) -> Ordering {
        order_key(self.spec.priority, self.id, &self.name).cmp(&order_key(other.spec.priority, other.id, &other.name))
    }
}

/// Sorts as rules are tried.
pub(crate) fn order_key(priority: i32, id: Option<i32>, name: &str) -> (i32, bool, Option<i32>, (&str, &str)) {
    (priority, id.is_none(), id, name.split_once('/').unwrap_or(("", name)))
}

impl From<AlertRule> for Rule {
    fn from(rule: AlertRule) -> Self {
        Self { id: None, name: rule.qualified_name(), spec: rule.spec }
    }
}

/// All rules with the development hosts and teams that belong to them: what is served to the alerters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSet {
    rules: Vec<Rule>,
    development_hosts: BTreeSet<String>,
    teams: BTreeMap<String, String>,
}

impl RuleSet {
    /// Puts the rules in the order in which they are tried. `teams` maps a host to its team; of a repeated host the last counts.
    pub fn new(
        mut rules: Vec<Rule>,
        development_hosts: impl IntoIterator<Item = String>,
        teams: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        rules.sort_by(Rule::order);
        Self { rules, development_hosts: development_hosts.into_iter().collect(), teams: teams.into_iter().collect() }
    }

    /// Puts together the AlertRules and MuttPipelines of parsed documents.
    pub fn from_documents(documents: impl IntoIterator<Item = Document>) -> Self {
        let (mut rules, mut hosts, mut teams) = (Vec::new(), Vec::new(), Vec::new());
        for document in documents {
            match document.object {
                Object::AlertRule(rule) => rules.push(Rule::from(*rule)),
                Object::MuttPipeline(pipeline) => {
                    teams.extend(pipeline.spec.device_teams());
                    hosts.extend(pipeline.spec.development_hosts);
                }
            }
        }
        Self::new(rules, hosts, teams)
    }

    /// The rules in the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Hosts whose events take the development handling.
    pub fn development_hosts(&self) -> &BTreeSet<String> {
        &self.development_hosts
    }

    /// Host → team, for meta-alerts about unhandled messages.
    pub fn teams(&self) -> &BTreeMap<String, String> {
        &self.teams
    }

    /// The document all parts of MUTT agree on: one line, fixed field order, rules in the order they are tried, hosts sorted.
    pub fn to_canonical_json(&self) -> String {
        serde_json::to_string(self)
            .unwrap_or_else(|error| unreachable!("strings, numbers and string keys always serialise: {error}"))
    }

    /// The same document from rules whose JSON is known, in the order in which they are tried: a change of one of ten
    /// thousand rules then serialises that one only.
    pub fn join_canonical_json(
        rules: &[&RawValue],
        development_hosts: &BTreeSet<String>,
        teams: &BTreeMap<String, String>,
    ) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Joined<'j> {
            rules: &'j [&'j RawValue],
            development_hosts: &'j BTreeSet<String>,
            teams: &'j BTreeMap<String, String>,
        }
        serde_json::to_string(&Joined { rules, development_hosts, teams })
            .unwrap_or_else(|error| unreachable!("strings, numbers and string keys always serialise: {error}"))
    }

    /// Reads a document made by [`RuleSet::to_canonical_json`], in whatever order its rules are.
    ///
    /// # Errors
    /// When the text is not such a document.
    pub fn from_json(text: &str) -> Result<Self, RuleSetError> {
        let mut set: Self = serde_json::from_str(text)?;
        set.rules.sort_by(Rule::order);
        Ok(set)
    }

    /// SHA-256 of the canonical document.
    pub fn revision(&self) -> Revision {
        Revision::of(&self.to_canonical_json())
    }
}

/// A rule set document that cannot be written or read.
#[derive(Debug, Error)]
pub enum RuleSetError {
    /// Not the JSON of a rule set.
    #[error("rule set document: {0}")]
    Json(#[from] serde_json::Error),
}

/// Revision of a rule set: the SHA-256 of its canonical document, 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

impl Revision {
    /// The revision of a canonical document.
    pub fn of(canonical_json: &str) -> Self {
        Self(hex(&Sha256::digest(canonical_json.as_bytes())))
    }

    /// The 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        let is_revision = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_revision { Ok(Self(text.to_owned())) } else { Err(InvalidRevision) }
    }
}

impl TryFrom<String> for Revision {
    type Error = InvalidRevision;

    fn try_from(text: String) -> Result<Self, InvalidRevision> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> Self {
        revision.0
    }
}

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a revision is 64 lower-case hex digits")]
pub struct InvalidRevision;
