//! What rules see of an event.

use crate::spec::TestEvent;

/// The keys of an event that rules look at, borrowed from the parsed event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// The sending device.
    pub hostname: &'a str,
    /// The message, JSON escapes already undone.
    pub message: &'a str,
    /// OID of an SNMP trap; an empty one counts as none.
    pub trap_oid: Option<&'a str>,
    /// Syslog severity, 0 (emergency) to 7 (debug).
    pub syslog_severity: Option<i64>,
    /// Address of the sender, for CIDRs.
    pub source_ip: Option<&'a str>,
}

impl<'a> From<&'a TestEvent> for Event<'a> {
    fn from(event: &'a TestEvent) -> Self {
        Self {
            hostname: &event.hostname,
            message: &event.message,
            trap_oid: event.trap_oid.as_deref(),
            syslog_severity: event.syslog_severity.map(i64::from),
            source_ip: event.source_ip.as_deref(),
        }
    }
}
