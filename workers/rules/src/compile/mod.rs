//! From a rule set to what decides events.

mod ascii;
mod chunk;
mod engines;
mod index;
mod late;
mod lookaround;
mod oids;
pub(crate) mod pattern;
mod required;
mod rule;
mod step_limit;
mod window;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

pub(crate) use self::engines::Caches;
pub(crate) use self::index::{Index, Waiting};
use self::pattern::Pattern;
pub use self::rule::CompiledRule;
pub(crate) use self::rule::Seen;
use crate::rule_set::{Revision, Rule, RuleSet};

/// Bytes of all regexes of a set; rules beyond it are left out and reported. An alerter with 10,000 rules has 256 MiB in all.
const SET_BYTES_MAX: usize = 128 << 20;

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

/// A compiled rule set; immutable, to be swapped as a whole.
#[derive(Debug)]
pub struct Compiled {
    revision: Revision,
    rules: Vec<Arc<CompiledRule>>,
    pub(crate) index: Index,
    errors: Vec<RuleError>,
    development_hosts: HashSet<String>,
    teams: BTreeMap<String, String>,
}

type RuleKey<'r> = (Option<i32>, &'r str);

impl Compiled {
    /// Compiles a rule set. Rules that do not compile are reported by [`Compiled::errors`]; their last good form is taken over from
    /// `previous`, where there is one, and else they are left out. Rules that did not change keep their compiled form.
    pub fn build(set: &RuleSet, previous: Option<&Self>) -> Self {
        let (rules, errors) = compile_rules(set, previous);
        Self {
            revision: set.revision(),
            index: Index::new(&rules),
            rules,
            errors,
            development_hosts: set.development_hosts().iter().cloned().collect(),
            teams: set.teams().clone(),
        }
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
        self.rules.iter().map(|rule| rule.step_limit_hits()).sum()
    }

    /// Names of the rules that are suspended because they hit their step limit 100 times within a minute.
    pub fn suspended(&self, now_seconds: u64) -> Vec<&str> {
        self.rules.iter().filter(|rule| rule.is_suspended(now_seconds)).map(|rule| rule.name.as_str()).collect()
    }

    /// Bytes of all automata.
    pub fn automata_bytes(&self) -> usize {
        self.index.bytes() + self.rules.iter().filter_map(|rule| rule.pattern()).map(Pattern::bytes).sum::<usize>()
    }
}

/// Compiles what changed, in the order in which rules are tried.
fn compile_rules(set: &RuleSet, previous: Option<&Compiled>) -> (Vec<Arc<CompiledRule>>, Vec<RuleError>) {
    let known: HashMap<RuleKey<'_>, &Arc<CompiledRule>> = previous
        .iter()
        .flat_map(|compiled| &compiled.rules)
        .map(|rule| ((rule.id, rule.name.as_str()), rule))
        .collect();
    let (mut rules, mut errors): (Vec<Arc<CompiledRule>>, Vec<RuleError>) = (Vec::new(), Vec::new());
    let mut names: HashSet<RuleKey<'_>> = HashSet::new();
    let mut bytes = 0;
    for rule in set.rules().iter().filter(|rule| rule.spec.enabled) {
        let key = (rule.id, rule.name.as_str());
        let last_good = known.get(&key).copied();
        let is_first = names.insert(key);
        let compiled = if is_first { compile_rule(rule, last_good, bytes) } else { Err(TAKEN_NAME.to_owned()) };
        let in_use = match compiled {
            Ok(compiled) => Some(compiled),
            Err(reason) => {
                let last_good = last_good.filter(|_| is_first).map(Arc::clone);
                let last_good_in_use = last_good.is_some();
                errors.push(RuleError { rule: rule.name.clone(), id: rule.id, reason, last_good_in_use });
                last_good
            }
        };
        bytes += in_use.as_ref().and_then(|rule| rule.pattern()).map_or(0, Pattern::bytes);
        rules.extend(in_use);
    }
    if errors.iter().any(|error| error.last_good_in_use) {
        // A last good form keeps the priority it had.
        rules.sort_by(|a, b| order(a).cmp(&order(b)));
    }
    (rules, errors)
}

const TAKEN_NAME: &str = "another rule of the set has the same namespace and name; rename one of them";

fn compile_rule(rule: &Rule, last: Option<&Arc<CompiledRule>>, bytes: usize) -> Result<Arc<CompiledRule>, String> {
    if let Some(same) = last.filter(|last| *last.fingerprint() == rule::fingerprint(&rule.spec)) {
        return Ok(Arc::clone(same));
    }
    let compiled = CompiledRule::new(rule)?;
    if bytes + compiled.pattern().map_or(0, Pattern::bytes) > SET_BYTES_MAX {
        return Err(format!(
            "the regexes of all rules take more than {} MiB; simplify the largest or use contains",
            SET_BYTES_MAX >> 20
        ));
    }
    Ok(Arc::new(compiled))
}

fn order(rule: &CompiledRule) -> impl Ord + '_ {
    crate::rule_set::order_key(rule.priority(), rule.id, &rule.name)
}
