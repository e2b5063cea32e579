//! The form of a regex for messages beyond ASCII, made when the first such message comes to the regex.
//!
//! It takes tens to hundreds of kilobytes (`\w` is 140,000 characters), and in most networks no message ever needs it.

use std::sync::OnceLock;

use regex_automata::nfa::thompson::WhichCaptures;

use super::engines::{Caches, Engines};
use super::pattern::{nfa, parse};

/// Engines made at their first use, of a pattern that is known to compile.
#[derive(Debug)]
pub(super) struct Late {
    pattern: Box<str>,
    engines: OnceLock<Option<Box<Engines>>>,
}

impl Late {
    /// Takes a pattern of which these very engines were made before.
    pub(super) fn new(pattern: &str) -> Self {
        Self { pattern: pattern.into(), engines: OnceLock::new() }
    }

    /// Whether the expression matches anywhere in the text.
    pub(super) fn is_match(&self, text: &str, caches: &mut Caches) -> bool {
        let engines = self.engines.get_or_init(|| engines(&self.pattern).map(Box::new));
        // Making them depends on the pattern alone, and went well before.
        engines.as_ref().is_some_and(|engines| engines.is_match(text, caches))
    }
}

fn engines(pattern: &str) -> Option<Engines> {
    let hir = parse(pattern, true).ok()?;
    Engines::new(nfa(&hir, WhichCaptures::Implicit).ok()?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn made_by_the_first_text_and_then_kept() {
        let late = Late::new(r"\bstörung \w+");
        assert!(late.engines.get().is_none());
        let mut caches = Caches::default();
        assert!(late.is_match("STÖRUNG größer", &mut caches));
        let made = late.engines.get().unwrap().as_deref().map(std::ptr::from_ref);
        assert!(!late.is_match("störung", &mut caches));
        assert_eq!(made, late.engines.get().unwrap().as_deref().map(std::ptr::from_ref));
    }
}
