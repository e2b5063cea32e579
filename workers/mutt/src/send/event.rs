//! Events made from the command line or from a line of text.

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Severity words as rsyslog sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Severity {
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Emerg => "emerg",
            Self::Alert => "alert",
            Self::Crit => "crit",
            Self::Err => "err",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// What all events of one call have in common.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) hostname: String,
    pub(super) severity: Severity,
    pub(super) trap_oid: Option<String>,
}

impl Template {
    /// An event with this message.
    pub(super) fn event(&self, message: &str, now: Timestamp) -> String {
        let mut event = json!({
            "timestamp": now.to_string(),
            "hostname": self.hostname,
            "severity": self.severity.word(),
            "message": message,
            "source": "syslog",
        });
        if let Some(oid) = &self.trap_oid {
            event["source"] = Value::from("snmp");
            event["trap_oid"] = Value::from(oid.as_str());
        }
        event.to_string()
    }

    /// A line of a file: a JSON object as it is, any other text as the message of an event.
    pub(super) fn line(&self, line: &[u8], now: Timestamp) -> Vec<u8> {
        if line.trim_ascii_start().starts_with(b"{") {
            return line.to_vec();
        }
        self.event(&String::from_utf8_lossy(line), now).into_bytes()
    }
}
