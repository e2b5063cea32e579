//! Engines that answer whether a compiled expression matches; all caches live in one place and serve all expressions.

use std::sync::atomic::{AtomicU64, Ordering};

use regex_automata::hybrid::dfa as lazy;
use regex_automata::nfa::thompson::backtrack::{self, BoundedBacktracker};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{BuildError, NFA};
use regex_automata::{Anchored, Input};

/// Bytes of the one lazy automaton cache.
const LAZY_CACHE_BYTES: usize = 1 << 20;
/// Bytes of the backtracker's table of visited states; longer texts go to the lazy automaton.
const BACKTRACK_BYTES: usize = 256 << 10;

/// The engines of one expression, from the quickest for short texts to the one that always works.
#[derive(Debug)]
pub(super) struct Engines {
    /// Names the owner of a cache; never used twice in a process.
    id: u64,
    backtrack: BoundedBacktracker,
    lazy: Option<Box<lazy::DFA>>,
    pike: PikeVM,
}

/// Caches of the engines, each filled for one expression at a time.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    backtrack: Option<(u64, backtrack::Cache)>,
    lazy: Option<(u64, lazy::Cache)>,
    pike: Option<(u64, pikevm::Cache)>,
    chunks: Vec<(u64, lazy::Cache)>,
}

impl Caches {
    /// The cache of a chunk of regexes.
    pub(super) fn chunk(&mut self, number: usize, id: u64, automaton: &lazy::DFA) -> &mut lazy::Cache {
        while self.chunks.len() <= number {
            self.chunks.push((id, automaton.create_cache()));
        }
        let (owner, cache) = &mut self.chunks[number];
        if *owner != id {
            cache.reset(automaton);
            *owner = id;
        }
        cache
    }
}

/// A number that no other automaton of the process has.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Engines {
    pub(super) fn new(nfa: NFA) -> Result<Self, Box<BuildError>> {
        let backtrack = BoundedBacktracker::builder()
            .configure(BoundedBacktracker::config().visited_capacity(BACKTRACK_BYTES))
            .build_from_nfa(nfa.clone())?;
        let lazy = lazy::DFA::builder()
            .configure(
                lazy::DFA::config()
                    .unicode_word_boundary(true)
                    .cache_capacity(LAZY_CACHE_BYTES)
                    .minimum_cache_clear_count(Some(8))
                    .minimum_bytes_per_state(Some(16)),
            )
            .build_from_nfa(nfa.clone())
            .ok()
            .map(Box::new);
        Ok(Self { id: next_id(), backtrack, lazy, pike: PikeVM::new_from_nfa(nfa)? })
    }

    /// Whether the expression matches anywhere in the text.
    pub(super) fn is_match(&self, text: &str, caches: &mut Caches) -> bool {
        let input = Input::new(text).earliest(true).anchored(Anchored::No);
        if text.len() <= self.backtrack.max_haystack_len() {
            let cache = prepared(
                &mut caches.backtrack,
                self.id,
                || self.backtrack.create_cache(),
                |c| c.reset(&self.backtrack),
            );
            if let Ok(found) = self.backtrack.try_is_match(cache, input.clone()) {
                return found;
            }
        }
        if let Some(dfa) = &self.lazy {
            let cache = prepared(&mut caches.lazy, self.id, || dfa.create_cache(), |c| c.reset(dfa));
            if let Ok(found) = dfa.try_search_fwd(cache, &input) {
                return found.is_some();
            }
        }
        let cache = prepared(&mut caches.pike, self.id, || self.pike.create_cache(), |c| c.reset(&self.pike));
        self.pike.is_match(cache, input)
    }
}

/// The cache, made or reset for the expression `id`.
fn prepared<C>(slot: &mut Option<(u64, C)>, id: u64, create: impl FnOnce() -> C, reset: impl FnOnce(&mut C)) -> &mut C {
    match slot {
        Some((owner, cache)) if *owner != id => {
            reset(cache);
            *owner = id;
        }
        _ => {}
    }
    &mut slot.get_or_insert_with(|| (id, create())).1
}
