//! Bounds the signatures under which unhandled messages are counted, since each costs a key in Redis.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use mutt_rules::{SignatureMode, signature};

/// A device with more different unhandled messages is counted under one signature for the rest.
const SIGNATURES_PER_HOST: usize = 1_000;
/// Over all hosts, 16 bytes each; beyond it the worker forgets and counts anew what it lets through.
const SIGNATURES_KNOWN: usize = 100_000;
/// The signature of the rest, as the counter's name has it.
const OVERFLOW: &str = "overflow";

/// What unhandled messages of a host are counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Signature {
    /// 128 bits of the message's signature.
    Own([u8; 16]),
    /// One for all messages beyond the bound.
    Overflow,
}

impl Signature {
    /// As it stands in the counter's key: 32 hex digits, or a word.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Own(bytes) => format!("{:032x}", u128::from_be_bytes(bytes)),
            Self::Overflow => OVERFLOW.to_owned(),
        }
    }
}

/// The signatures that this worker has let through, by host.
#[derive(Debug, Default)]
pub(crate) struct KnownSignatures {
    by_host: HashMap<u64, HashSet<u64>>,
    known: usize,
    hasher: RandomState,
}

impl KnownSignatures {
    /// The signature under which this message of this host is counted.
    pub(crate) fn admit(&mut self, host: &str, message: &str, mode: SignatureMode) -> Signature {
        let own = signature(message, mode);
        // Half of it tells a host's messages apart well enough for a bound.
        let half = own.iter().take(8).fold(0, |half, byte| half << 8 | u64::from(*byte));
        if self.admits(self.hasher.hash_one(host), half) { Signature::Own(own) } else { Signature::Overflow }
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
        let first = known.admit("a", &word(0), SignatureMode::Exact);
        for n in 1..1_000 {
            assert_ne!(known.admit("a", &word(n), SignatureMode::Exact), Signature::Overflow);
        }
        assert_eq!(known.admit("a", &word(1_000), SignatureMode::Exact), Signature::Overflow);
        assert_eq!(known.admit("a", &word(0), SignatureMode::Exact), first, "a known one stays");
        assert_ne!(known.admit("b", &word(1_000), SignatureMode::Exact), Signature::Overflow, "each host for itself");
    }
}
