//! Rules that have only an OID, by that OID.

use std::collections::HashMap;

/// Rules by OID prefix; each group in the order of the rules.
#[derive(Debug)]
pub(crate) struct Oids {
    rules: HashMap<Box<str>, Vec<u32>>,
    /// Whether there is a prefix of this many bytes: most prefixes of a trap's OID need no look-up.
    has_length: [bool; 256],
}

impl Oids {
    pub(super) fn new(rules: HashMap<Box<str>, Vec<u32>>) -> Self {
        let mut has_length = [false; 256];
        for oid in rules.keys() {
            has_length[oid.len().min(255)] = true;
        }
        Self { rules, has_length }
    }

    /// Calls `found` with the rules of each prefix of the (normalized) OID, by whole arcs.
    pub(super) fn prefixes_of(&self, oid: &str, mut found: impl FnMut(&[u32])) {
        let ends = oid.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(at, _)| at);
        for end in ends.chain([oid.len()]).take_while(|end| *end <= 255).filter(|end| self.has_length[*end]) {
            if let Some(rules) = self.rules.get(&oid[..end]) {
                found(rules);
            }
        }
    }
}
