//! Which few bytes of a literal the automaton looks for.
//!
//! Every byte in the automaton is a state of it, and a cold state is a cache miss. So a long literal is represented by its rarest
//! window; the rest is compared where the window is found.

use std::collections::HashMap;
use std::ops::Range;

use super::required::letter_weight;

/// Bytes of a window.
const WINDOW_BYTES: usize = 7;
/// Windows of a literal that are looked at.
const WINDOWS_MAX: usize = 64;

/// How many literals of a rule set hold each window.
#[derive(Debug, Default)]
pub(super) struct Windows<'l>(HashMap<&'l [u8], u32>);

impl<'l> Windows<'l> {
    pub(super) fn add(&mut self, literal: &'l str) {
        for window in windows(literal) {
            *self.0.entry(window).or_default() += 1;
        }
    }

    /// The window that the fewest literals hold, of those the one with the rarest letters.
    pub(super) fn rarest(&self, literal: &str) -> Range<usize> {
        let rarity = |window: &[u8]| {
            let uses = self.0.get(window).copied().unwrap_or(1);
            let letters: f32 = window.iter().map(|byte| letter_weight(char::from(*byte))).sum();
            letters - 1_000.0 * (uses as f32).log2()
        };
        let best = windows(literal).enumerate().max_by(|(_, a), (_, b)| rarity(a).total_cmp(&rarity(b)));
        best.map_or(0..literal.len(), |(start, window)| start..start + window.len())
    }
}

fn windows(literal: &str) -> impl Iterator<Item = &[u8]> {
    literal.as_bytes().windows(WINDOW_BYTES.min(literal.len()).max(1)).take(WINDOWS_MAX)
}
