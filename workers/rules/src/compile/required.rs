//! Texts that a regex requires: whatever it matches contains, case folded, one of a set of literals.
//!
//! A regex whose set is found in a message is a candidate, all others need not be run. The set to look for is the rarest, not the
//! longest: `interface .* XZQ9` is looked for by `xzq9`, since half of all messages name an interface.

use std::collections::HashMap;

use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

use crate::fold::{fold, fold_char};

/// Alternatives of which a match contains at least one; folded.
pub(crate) type LiteralSet = Vec<Box<str>>;

/// More alternatives than this cost more than they save.
const ALTERNATIVES_MAX: usize = 64;
/// Sets kept of one regex, the best first.
const SETS_MAX: usize = 4;
/// A set that weighs less (in bits of surprise) is in too many messages to be worth the search.
const WEIGHT_MIN: f32 = 9.0;
/// Beyond this a text comes by no accident; what counts then is how many rules need it.
const WEIGHT_ENOUGH: f32 = 24.0;
/// Longer literals are cut: a rare piece of it is enough.
const LITERAL_BYTES_MAX: usize = 48;

/// The sets that the expression requires, each by itself, the rarest first. `hir` is parsed without case folding.
pub(crate) fn required(hir: &Hir) -> Vec<LiteralSet> {
    best(collect(hir))
}

/// Keeps the rarest sets.
pub(super) fn best(mut sets: Vec<LiteralSet>) -> Vec<LiteralSet> {
    sets.retain(|set| weight(set) >= WEIGHT_MIN);
    sets.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    sets.truncate(SETS_MAX);
    sets
}

/// Of a regex's sets the one that is the rarest in view of how many rules of the set need the same literals.
pub(crate) fn choose<'s>(sets: &'s [LiteralSet], uses: &HashMap<&str, u32>) -> Option<&'s LiteralSet> {
    let rarity = |set: &LiteralSet| {
        let uses = set.iter().filter_map(|literal| uses.get(&**literal)).copied().max().unwrap_or(1).max(1);
        let weight = weight(set);
        weight.min(WEIGHT_ENOUGH) + weight / 100.0 - 2.0 * (uses as f32).log2()
    };
    sets.iter().max_by(|a, b| rarity(a).total_cmp(&rarity(b)))
}

fn collect(hir: &Hir) -> Vec<LiteralSet> {
    if let Some(text) = exact(hir) {
        return single(&text).into_iter().collect();
    }
    match hir.kind() {
        HirKind::Capture(capture) => collect(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => collect(&repetition.sub),
        HirKind::Concat(parts) => concat(parts),
        HirKind::Alternation(branches) => union(branches.iter().map(collect)).into_iter().collect(),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) => {
            Vec::new()
        }
    }
}

/// Sets of the parts, and of the texts that neighbouring parts make up together.
fn concat(parts: &[Hir]) -> Vec<LiteralSet> {
    let mut sets = Vec::new();
    let mut run = String::new();
    for part in parts {
        if let Some(text) = exact(part) {
            run.push_str(&text);
        } else if !matches!(part.kind(), HirKind::Look(_)) {
            sets.extend(single(&std::mem::take(&mut run)));
            sets.extend(collect(part));
        }
    }
    sets.extend(single(&run));
    sets
}

/// One set out of the best set of each branch; none if a branch requires nothing.
pub(super) fn union(branches: impl Iterator<Item = Vec<LiteralSet>>) -> Option<LiteralSet> {
    let mut all = LiteralSet::new();
    for sets in branches {
        all.extend(sets.into_iter().max_by(|a, b| weight(a).total_cmp(&weight(b)))?);
        if all.len() > ALTERNATIVES_MAX {
            return None;
        }
    }
    all.sort();
    all.dedup();
    Some(all)
}

/// The set of one text, cut to its bound.
pub(super) fn single(text: &str) -> Option<LiteralSet> {
    if text.is_empty() { None } else { Some(vec![cut(text).into()]) }
}

/// The first bytes of a text, up to the bound, at a character boundary.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LITERAL_BYTES_MAX)]
}

/// The folded text that the expression always matches, if it is always the same one.
fn exact(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(fold),
        HirKind::Class(Class::Unicode(class)) => {
            let mut folded =
                class.iter().take(8).flat_map(|range| (range.start()..=range.end()).take(8)).map(fold_char);
            let first = folded.next()?;
            let is_single = class.iter().map(ClassUnicodeRange::len).sum::<usize>() <= 8 && folded.all(|c| c == first);
            is_single.then(|| first.to_string())
        }
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Concat(parts) => {
            let texts: Option<Vec<String>> =
                parts.iter().filter(|part| !matches!(part.kind(), HirKind::Look(_))).map(exact).collect();
            texts.map(|texts| texts.concat())
        }
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) | HirKind::Alternation(_) => {
            None
        }
    }
}

/// Bits of surprise of the most common alternative.
fn weight(set: &LiteralSet) -> f32 {
    set.iter().map(|literal| text_weight(literal)).fold(f32::INFINITY, f32::min)
}

/// Words that stand in a large part of all syslog messages, with their separators taken off.
const COMMON_WORDS: &[&str] = &[
    "address",
    "authentication",
    "changed",
    "client",
    "closed",
    "connection",
    "daemon",
    "device",
    "down",
    "error",
    "fail",
    "failed",
    "failure",
    "for",
    "from",
    "host",
    "info",
    "interface",
    "kernel",
    "line",
    "link",
    "local",
    "login",
    "message",
    "neighbor",
    "network",
    "not",
    "packet",
    "peer",
    "port",
    "process",
    "protocol",
    "received",
    "server",
    "service",
    "session",
    "snmp",
    "state",
    "status",
    "system",
    "the",
    "timeout",
    "to",
    "up",
    "user",
    "vlan",
    "warning",
    "with",
];
const COMMON_WORD_BITS: f32 = 4.0;

/// Estimated bits of surprise: common words count little, other text by how frequent its letters are in syslog messages.
fn text_weight(text: &str) -> f32 {
    text.split(|c: char| !c.is_alphanumeric())
        .map(|word| {
            let letters: f32 = word.chars().map(letter_weight).sum();
            if COMMON_WORDS.binary_search(&word).is_ok() { letters.min(COMMON_WORD_BITS) } else { letters }
        })
        .sum::<f32>()
        + text.chars().filter(|c| !c.is_alphanumeric()).map(letter_weight).sum::<f32>()
}

pub(super) fn letter_weight(letter: char) -> f32 {
    match letter {
        ' ' => 0.5,
        'e' | 't' | 'a' | 'o' | 'i' | 'n' | 's' | 'r' => 3.0,
        '.' | ':' | '-' | '0' | '1' | '/' => 2.5,
        'd' | 'l' | 'c' | 'u' | 'm' | 'p' | 'f' => 3.8,
        '0'..='9' => 3.5,
        'a'..='z' => 5.0,
        _ => 6.0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn first(pattern: &str) -> Option<Vec<String>> {
        let hir = regex_syntax::parse(pattern).unwrap();
        required(&hir).first().map(|set| set.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_rarest_required_text_is_taken() {
        let table: [(&str, Option<&[&str]>); 14] = [
            ("interface .* XZQ9", Some(&[" xzq9"])),
            ("(?i)interface .* XZQ9", Some(&[" xzq9"])),
            ("neighbor .* BGP-ADJ", Some(&[" bgp-adj"])),
            ("(LINK|PORT)-UPDOWN", Some(&["-updown"])),
            ("(LINKFLAP|ERRDISABLE) x*", Some(&["errdisable", "linkflap"])),
            ("%(foo)(bar)baz", Some(&["%foobarbaz"])),
            ("(quux)+y?", Some(&["quux"])),
            ("(quux)*", None),
            (r"\d+", None),
            ("a.*b", None),
            ("", None),
            ("(QUUX|.)", None),
            (r"\bOSPF\b-ZQ", Some(&["ospf-zq"])),
            ("\u{212a}ELVIN[kK\u{212a}]", Some(&["kelvink"])),
        ];
        for (pattern, expected) in table {
            let expected = expected.map(|set| set.iter().map(ToString::to_string).collect());
            assert_eq!(first(pattern), expected, "{pattern}");
        }
        assert!(COMMON_WORDS.is_sorted());
    }

    #[test]
    fn literals_that_many_rules_need_are_avoided() {
        let sets = required(&regex_syntax::parse("LINEPROTO-UPDOWN.*GigaZ7").unwrap());
        let uses = HashMap::from([(&*sets[0][0], 1_000)]);
        assert_eq!(choose(&sets, &HashMap::new()), Some(&sets[0]));
        assert_eq!(choose(&sets, &uses), Some(&sets[1]));
    }
}
