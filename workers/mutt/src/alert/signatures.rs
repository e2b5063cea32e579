//! Bounds the signatures under which unhandled messages are counted, since each costs a key in Redis.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use mutt_rules::{SignatureMode, signature_hex};

/// A device with more different unhandled messages is counted under one signature for the rest.
const SIGNATURES_PER_HOST: usize = 1_000;
/// Over all hosts, 16 bytes each; beyond it the worker forgets and counts anew what it lets through.
const SIGNATURES_KNOWN: usize = 100_000;
/// The signature of the rest.
const OVERFLOW: &str = "overflow";

/// The signatures that this worker has let through, by host.
#[derive(Debug, Default)]
pub(crate) struct KnownSignatures {
    by_host: HashMap<u64, HashSet<u64>>,
    known: usize,
    hasher: RandomState,
}

impl KnownSignatures {
    /// The name under which this message of this host is counted.
    pub(crate) fn name(&mut self, host: &str, message: &str, mode: SignatureMode) -> String {
        let signature = signature_hex(message, mode);
        if self.admits(self.hasher.hash_one(host), self.hasher.hash_one(&signature)) {
            signature
        } else {
            OVERFLOW.to_owned()
        }
    }

    /// Forgets everything, as the counters in Redis expire.
    pub(crate) fn forget(&mut self) {
        self.by_host = HashMap::new();
        self.known = 0;
    }

    fn admits(&mut self, host: u64, signature: u64) -> bool {
        if self.known >= SIGNATURES_KNOWN {
            self.forget();
        }
        let known = self.by_host.entry(host).or_default();
        if known.contains(&signature) {
            return true;
        }
        if known.len() >= SIGNATURES_PER_HOST {
            return false;
        }
        known.insert(signature);
        self.known += 1;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_thousand_signatures_and_one_for_the_rest() {
        let mut known = KnownSignatures::default();
        let word = |n: usize| format!("word{}", "x".repeat(n));
        let first = known.name("a", &word(0), SignatureMode::Exact);
        for n in 1..1_000 {
            assert_ne!(known.name("a", &word(n), SignatureMode::Exact), OVERFLOW);
        }
        assert_eq!(known.name("a", &word(1_000), SignatureMode::Exact), OVERFLOW);
        assert_eq!(known.name("a", &word(0), SignatureMode::Exact), first, "a known one stays");
        assert_ne!(known.name("b", &word(1_000), SignatureMode::Exact), OVERFLOW, "each host for itself");
    }
}
