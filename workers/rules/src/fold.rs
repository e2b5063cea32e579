//! Unicode simple case folding: every character is mapped to one representative of those that differ from it in case only.
//!
//! The classes are those of the regex crate, so that `contains X` and the regex `(?i)X` agree on every text.

use std::sync::OnceLock;

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// Beyond this no character has another case (Unicode 16 ends with Adlam, U+1E943).
const FOLD_END: u32 = 0x2_0000;
const PAGE_BITS: u32 = 8;

/// Two-level table: most pages hold no cased character and share the empty page 0.
struct FoldTable {
    page_of: Vec<u16>,
    pages: Vec<[u32; 1 << PAGE_BITS]>,
}

impl FoldTable {
    fn new() -> Self {
        let mut table = Self { page_of: vec![0; (FOLD_END >> PAGE_BITS) as usize], pages: vec![[0; 256]] };
        for code in 0..FOLD_END {
            let Some(character) = char::from_u32(code) else { continue };
            let representative = representative(character);
            if representative != character {
                table.insert(code, representative);
            }
        }
        table
    }

    fn insert(&mut self, code: u32, representative: char) {
        let slot = (code >> PAGE_BITS) as usize;
        if self.page_of[slot] == 0 {
            self.page_of[slot] = self.pages.len() as u16;
            self.pages.push([0; 256]);
        }
        self.pages[usize::from(self.page_of[slot])][(code & 0xff) as usize] = u32::from(representative);
    }

    fn get(&self, character: char) -> char {
        let code = u32::from(character);
        let Some(page) = self.page_of.get((code >> PAGE_BITS) as usize) else { return character };
        match self.pages[usize::from(*page)][(code & 0xff) as usize] {
            0 => character,
            representative => char::from_u32(representative).unwrap_or(character),
        }
    }
}

/// The smallest character of the class, but the lower-case ASCII letter where there is one.
fn representative(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    let mut class = ClassUnicode::new([ClassUnicodeRange::new(character, character)]);
    class.case_fold_simple();
    let members = class.ranges().iter().flat_map(|range| range.start()..=range.end());
    members.map(|member| member.to_ascii_lowercase()).min().unwrap_or(character)
}

fn table() -> &'static FoldTable {
    static TABLE: OnceLock<FoldTable> = OnceLock::new();
    TABLE.get_or_init(FoldTable::new)
}

/// The representative of a character.
pub(crate) fn fold_char(character: char) -> char {
    if character.is_ascii() { character.to_ascii_lowercase() } else { table().get(character) }
}

/// Replaces the content of `folded` by the folded text.
pub(crate) fn fold_into(text: &str, folded: &mut String) {
    folded.clear();
    folded.reserve(text.len());
    let table = table();
    folded.extend(text.chars().map(|c| if c.is_ascii() { c.to_ascii_lowercase() } else { table.get(c) }));
}

/// The folded text.
pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::new();
    fold_into(text, &mut folded);
    folded
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn simple_folding_only() {
        let table = [
            ("BGP-5", "bgp-5"),
            ("\u{212a}elvin \u{17f}", "kelvin s"), // Kelvin sign, long s
            ("\u{1e9e}", "ß"),
            ("İı", "İı"), // no simple folding to i
            ("ΣΑΣς", fold("σασσ").as_str()),
            ("ÅÄÖ", fold("åäö").as_str()),
            ("Ǆǅǆ", fold("ǆǆǆ").as_str()),
            ("日本", "日本"),
        ]
        .map(|(text, expected)| (text, expected.to_owned()));
        for (text, expected) in table {
            assert_eq!(fold(text), expected, "{text}");
        }
        assert_ne!(fold("ß"), fold("ss"));
    }

    #[test]
    fn nothing_beyond_the_table_has_another_case() {
        let all = ClassUnicode::new([ClassUnicodeRange::new('\u{20000}', char::MAX)]);
        let mut folded = all.clone();
        folded.case_fold_simple();
        assert_eq!(all, folded);
    }
}
