//! Regexes that require no text, several in one automaton: one run over a message tells which of them match.

use std::sync::Arc;

use regex_automata::hybrid::dfa as lazy;
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::{Input, MatchKind, PatternSet};

use super::engines::{Caches, next_id};
use super::pattern::Pattern;
use super::rule::CompiledRule;

/// More regexes in one automaton have too many states together.
const RULES_MAX: usize = 24;
/// Chunks with an automaton; each has a cache of its own.
const CHUNKS_MAX: usize = 8;
const CACHE_BYTES: usize = 512 << 10;
const AUTOMATON_BYTES_MAX: usize = 1 << 20;

/// Rules that must be tried whatever the message holds, in order, cut into chunks.
#[derive(Debug, Default)]
pub(crate) struct Always(Vec<Chunk>);

#[derive(Debug)]
struct Chunk {
    id: u64,
    rules: Vec<u32>,
    automaton: Option<Box<lazy::DFA>>,
}

impl Always {
    pub(super) fn new(rules: &[Arc<CompiledRule>], always: &[u32]) -> Self {
        let chunks = always.chunks(RULES_MAX).enumerate().map(|(number, indices)| {
            let automaton = (number < CHUNKS_MAX && indices.len() > 1).then(|| automaton(rules, indices)).flatten();
            Chunk { id: next_id(), rules: indices.to_vec(), automaton: automaton.map(Box::new) }
        });
        Self(chunks.collect())
    }

    /// Adds to `candidates` the rules before `best` that may take the message.
    pub(crate) fn candidates(
        &self,
        message: &str,
        is_ascii: bool,
        best: u32,
        caches: &mut Caches,
        candidates: &mut Vec<u32>,
    ) {
        for (number, chunk) in self.0.iter().enumerate() {
            if chunk.rules.first().is_none_or(|first| *first >= best) {
                break;
            }
            let found = chunk.automaton.as_ref().filter(|_| is_ascii).and_then(|automaton| {
                let cache = caches.chunk(number, chunk.id, automaton);
                let mut found = PatternSet::new(automaton.pattern_len());
                automaton.try_which_overlapping_matches(cache, &Input::new(message), &mut found).ok().map(|()| found)
            });
            match found {
                Some(found) => candidates.extend(found.iter().filter_map(|at| chunk.rules.get(at.as_usize()))),
                None => candidates.extend_from_slice(&chunk.rules),
            }
        }
    }
}

/// One automaton, for ASCII messages, with the rules as its patterns.
fn automaton(rules: &[Arc<CompiledRule>], indices: &[u32]) -> Option<lazy::DFA> {
    let hirs: Option<Vec<_>> = indices
        .iter()
        .map(|index| match rules[*index as usize].pattern() {
            Some(Pattern::Regex(regex)) => regex.ascii_hir.as_ref(),
            _ => None,
        })
        .collect();
    let nfa: NFA = thompson::Compiler::new()
        .configure(
            thompson::Config::new().nfa_size_limit(Some(AUTOMATON_BYTES_MAX)).which_captures(WhichCaptures::None),
        )
        .build_many_from_hir(&hirs?)
        .ok()?;
    lazy::DFA::builder()
        .configure(
            lazy::DFA::config()
                .match_kind(MatchKind::All)
                .cache_capacity(CACHE_BYTES)
                .minimum_cache_clear_count(Some(4))
                .minimum_bytes_per_state(Some(16)),
        )
        .build_from_nfa(nfa)
        .ok()
}
