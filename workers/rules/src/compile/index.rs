//! Finds the rules that may take an event: one automaton over all literals, a map of OIDs, and the few that must always be tried.

use std::collections::HashMap;
use std::sync::Arc;

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous;
use aho_corasick::{Anchored, BuildError, MatchKind, StartKind, dfa};

use super::chunk::Always;
use super::pattern::Pattern;
use super::required::{LiteralSet, choose};
use super::rule::CompiledRule;

/// Largest literal total (bytes) for which the automaton is a full table: it is the fastest, and takes about 256 bytes for each.
const TABLE_LITERAL_BYTES_MAX: usize = 24 << 10;

/// Candidates by literal, by OID, and always.
#[derive(Debug)]
pub(crate) struct Index {
    automaton: Option<LiteralAutomaton>,
    literals: Groups,
    oids: HashMap<Box<str>, Vec<u32>>,
    /// Regexes without a required text.
    pub(crate) always: Always,
}

#[derive(Debug)]
enum LiteralAutomaton {
    Table(dfa::DFA),
    Compact(contiguous::NFA),
}

/// Rules by literal; each group in the order of the rules.
#[derive(Debug, Default)]
struct Groups {
    starts: Vec<u32>,
    rules: Vec<u32>,
}

impl Groups {
    fn new(groups: &[Vec<u32>]) -> Self {
        let mut starts = vec![0];
        let mut rules = Vec::new();
        for group in groups {
            rules.extend_from_slice(group);
            starts.push(rules.len() as u32);
        }
        Self { starts, rules }
    }

    fn get(&self, index: usize) -> &[u32] {
        &self.rules[self.starts[index] as usize..self.starts[index + 1] as usize]
    }
}

impl Index {
    pub(super) fn new(rules: &[Arc<CompiledRule>]) -> Self {
        let uses = uses(rules);
        let mut literals: Vec<&str> = Vec::new();
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut number_of: HashMap<&str, usize> = HashMap::new();
        let mut oids: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        let mut always = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let index = index as u32;
            let mut add = |literal| {
                let number = *number_of.entry(literal).or_insert_with(|| {
                    literals.push(literal);
                    groups.push(Vec::new());
                    groups.len() - 1
                });
                groups[number].push(index);
            };
            match (rule.pattern(), rule.lone_oid()) {
                (Some(pattern), _) => match (pattern.literal(), choose(pattern.required(), &uses)) {
                    (Some(literal), _) => add(literal),
                    (None, Some(set)) => set.iter().for_each(|literal| add(literal)),
                    (None, None) => always.push(index),
                },
                (None, Some(oid)) => oids.entry(oid.into()).or_default().push(index),
                (None, None) => {}
            }
        }
        if let Ok(automaton) = LiteralAutomaton::new(&literals) {
            return Self { automaton, literals: Groups::new(&groups), oids, always: Always::new(rules, &always) };
        }
        // More literals than an automaton can number (2^31 bytes): every message rule is tried.
        let all = 0..rules.len() as u32;
        let all: Vec<u32> = all.filter(|index| rules[*index as usize].pattern().is_some()).collect();
        Self { automaton: None, literals: Groups::default(), oids, always: Always::new(rules, &all) }
    }

    /// Calls `found(rules, end of the literal)` for each literal in the text (folded, or ASCII), until it answers false.
    pub(crate) fn scan(&self, text: &str, mut found: impl FnMut(&[u32], usize) -> bool) {
        let on_match = |literal: usize, end| found(self.literals.get(literal), end);
        match &self.automaton {
            Some(LiteralAutomaton::Table(dfa)) => scan(dfa, text.as_bytes(), on_match),
            Some(LiteralAutomaton::Compact(nfa)) => scan(nfa, text.as_bytes(), on_match),
            None => {}
        }
    }

    /// Calls `found` with the rules that have only an OID, for each prefix of the (normalized) OID.
    pub(crate) fn by_oid(&self, oid: &str, mut found: impl FnMut(&[u32])) {
        if self.oids.is_empty() {
            return;
        }
        let ends = oid.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(at, _)| at);
        for end in ends.chain([oid.len()]) {
            if let Some(rules) = self.oids.get(&oid[..end]) {
                found(rules);
            }
        }
    }

    /// Bytes of the literal automaton.
    pub(super) fn bytes(&self) -> usize {
        match &self.automaton {
            Some(LiteralAutomaton::Table(dfa)) => dfa.memory_usage(),
            Some(LiteralAutomaton::Compact(nfa)) => nfa.memory_usage(),
            None => 0,
        }
    }
}

impl LiteralAutomaton {
    fn new(literals: &[&str]) -> Result<Option<Self>, BuildError> {
        if literals.is_empty() {
            return Ok(None);
        }
        let total: usize = literals.iter().map(|literal| literal.len()).sum();
        let automaton = if total <= TABLE_LITERAL_BYTES_MAX {
            let mut builder = dfa::Builder::new();
            builder.match_kind(MatchKind::Standard).ascii_case_insensitive(true).prefilter(false);
            Self::Table(builder.start_kind(StartKind::Unanchored).build(literals)?)
        } else {
            let mut builder = contiguous::Builder::new();
            builder.match_kind(MatchKind::Standard).ascii_case_insensitive(true).prefilter(false);
            Self::Compact(builder.build(literals)?)
        };
        Ok(Some(automaton))
    }
}

fn scan<A: Automaton>(automaton: &A, text: &[u8], mut on_match: impl FnMut(usize, usize) -> bool) {
    let Ok(mut state) = automaton.start_state(Anchored::No) else { return };
    for (at, byte) in text.iter().enumerate() {
        state = automaton.next_state(Anchored::No, state, *byte);
        if automaton.is_special(state) && automaton.is_match(state) {
            for index in 0..automaton.match_len(state) {
                if !on_match(automaton.match_pattern(state, index).as_usize(), at + 1) {
                    return;
                }
            }
        }
    }
}

/// How many rules need each literal.
fn uses(rules: &[Arc<CompiledRule>]) -> HashMap<&str, u32> {
    let mut uses = HashMap::new();
    for pattern in rules.iter().filter_map(|rule| rule.pattern()) {
        let required = pattern.required().iter().flat_map(|set: &LiteralSet| set.iter()).map(|literal| &**literal);
        for literal in required.chain(Pattern::literal(pattern)) {
            *uses.entry(literal).or_default() += 1;
        }
    }
    uses
}
