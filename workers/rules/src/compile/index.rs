//! Finds the rules that may take an event: one automaton over all literals, a map of OIDs, and the few that must always be tried.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous;
use aho_corasick::{Anchored, BuildError, MatchKind, StartKind, dfa};

use super::chunk::Always;
use super::oids::Oids;
use super::pattern::Pattern;
use super::required::{LiteralSet, choose};
use super::rule::CompiledRule;
use super::window::Windows;

/// Largest literal total (bytes) for which the automaton is a full table: it is the fastest, and takes about 256 bytes for each.
const TABLE_LITERAL_BYTES_MAX: usize = 24 << 10;

/// Candidates by literal, by OID, and always.
#[derive(Debug)]
pub(crate) struct Index {
    automaton: Option<LiteralAutomaton>,
    groups: Groups,
    oids: Oids,
    /// Regexes without a required text.
    pub(crate) always: Always,
}

#[derive(Debug)]
enum LiteralAutomaton {
    Table(dfa::DFA),
    Compact(contiguous::NFA),
}

/// A rule that waits for a window of a literal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) rule: u32,
    /// Bytes of the rule's literal before the window.
    pub(crate) before: u32,
}

/// Rules by window; each group in the order of the rules.
#[derive(Debug, Default)]
struct Groups {
    starts: Vec<u32>,
    waiting: Vec<Waiting>,
    window_bytes: Vec<u8>,
}

impl Groups {
    fn new(windows: &[&[u8]], groups: &[Vec<Waiting>]) -> Self {
        let mut starts = vec![0];
        let mut waiting = Vec::new();
        for group in groups {
            waiting.extend_from_slice(group);
            starts.push(waiting.len() as u32);
        }
        Self { starts, waiting, window_bytes: windows.iter().map(|window| window.len() as u8).collect() }
    }

    fn get(&self, window: usize) -> (&[Waiting], usize) {
        let waiting = &self.waiting[self.starts[window] as usize..self.starts[window + 1] as usize];
        (waiting, usize::from(self.window_bytes[window]))
    }
}

/// Windows under construction.
#[derive(Default)]
struct GroupsBuilder<'l> {
    windows: Vec<&'l [u8]>,
    groups: Vec<Vec<Waiting>>,
    number_of: HashMap<&'l [u8], usize>,
}

impl<'l> GroupsBuilder<'l> {
    fn add(&mut self, literal: &'l str, window: Range<usize>, rule: u32) {
        let before = window.start as u32;
        let window = &literal.as_bytes()[window];
        let number = *self.number_of.entry(window).or_insert_with(|| {
            self.windows.push(window);
            self.groups.push(Vec::new());
            self.groups.len() - 1
        });
        self.groups[number].push(Waiting { rule, before });
    }
}

impl Index {
    pub(super) fn new(rules: &[Arc<CompiledRule>]) -> Self {
        let uses = uses(rules);
        let literals: Vec<Option<Vec<&str>>> =
            rules.iter().map(|rule| rule.pattern().and_then(|pattern| literals(pattern, &uses))).collect();
        let mut windows = Windows::default();
        literals.iter().flatten().flatten().for_each(|literal| windows.add(literal));

        let mut builder = GroupsBuilder::default();
        let mut oids: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        let mut always = Vec::new();
        for (index, (rule, literals)) in rules.iter().zip(&literals).enumerate() {
            let index = index as u32;
            match (literals, rule.lone_oid()) {
                (Some(literals), _) => {
                    for literal in literals {
                        builder.add(literal, windows.rarest(literal), index);
                    }
                }
                (None, Some(oid)) => oids.entry(oid.into()).or_default().push(index),
                (None, None) => always.push(index),
            }
        }
        let GroupsBuilder { windows, groups, .. } = builder;
        let oids = Oids::new(oids);
        if let Ok(automaton) = LiteralAutomaton::new(&windows) {
            return Self {
                automaton,
                groups: Groups::new(&windows, &groups),
                oids,
                always: Always::new(rules, &always),
            };
        }
        // More literals than an automaton can number (2^31 bytes): every message rule is tried.
        let all = 0..rules.len() as u32;
        let all: Vec<u32> = all.filter(|index| rules[*index as usize].pattern().is_some()).collect();
        Self { automaton: None, groups: Groups::default(), oids, always: Always::new(rules, &all) }
    }

    /// Calls `found(rules, start of the window, end of the window)` for each window in the text (folded, or ASCII), until it answers
    /// false.
    pub(crate) fn scan(&self, text: &str, mut found: impl FnMut(&[Waiting], usize, usize) -> bool) {
        let on_match = |window: usize, end: usize| {
            let (waiting, bytes) = self.groups.get(window);
            found(waiting, end - bytes, end)
        };
        match &self.automaton {
            Some(LiteralAutomaton::Table(dfa)) => scan(dfa, text.as_bytes(), on_match),
            Some(LiteralAutomaton::Compact(nfa)) => scan(nfa, text.as_bytes(), on_match),
            None => {}
        }
    }

    /// Calls `found` with the rules that have only an OID, for each prefix of the (normalized) OID.
    pub(crate) fn by_oid(&self, oid: &str, found: impl FnMut(&[u32])) {
        self.oids.prefixes_of(oid, found);
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
    fn new(literals: &[&[u8]]) -> Result<Option<Self>, BuildError> {
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

/// Texts of which a message must hold one for the pattern to match; none if any message may match.
fn literals<'r>(pattern: &'r Pattern, uses: &HashMap<&str, u32>) -> Option<Vec<&'r str>> {
    match pattern.literal() {
        Some(literal) => Some(vec![literal]),
        None => choose(pattern.required(), uses).map(|set| set.iter().map(|literal| &**literal).collect()),
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
