//! The fields an event must have (CONTRACT section 1), and the severity word that becomes a number.

use super::reason::Reason;
use super::scan::timestamp;
use super::scan::{Event, HOSTNAME, Kind, Known, MESSAGE, SEVERITY, SYSLOG_SEVERITY, Slot, TIMESTAMP, unescape};

/// A host name is at most what DNS allows for one.
const HOSTNAME_BYTES_MAX: usize = 255;
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A refusal with the words for the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Refusal {
    fn validation(message: String) -> Self {
        Self { reason: Reason::Validation, message }
    }
}

/// Checks the required fields of an event the scanner has taken; `body` is the text it was scanned in.
pub(crate) fn check(event: &Event, body: &[u8], known: &Known) -> Result<(), Refusal> {
    let mut missing = false;
    for slot in known.required() {
        match event.slot(*slot) {
            Some(value) => check_value(*slot, value, body, known)?,
            None => missing = true,
        }
    }
    if missing {
        return Err(missing_fields(event, known));
    }
    Ok(())
}

#[cold]
fn missing_fields(event: &Event, known: &Known) -> Refusal {
    let missing = known.required().iter().filter(|slot| event.slot(**slot).is_none());
    let names: Vec<String> = missing.map(|slot| format!("'{}'", known.name(*slot))).collect();
    Refusal::validation(format!("Missing required fields: [{}]", names.join(", ")))
}

#[inline]
fn check_value(slot: usize, value: Slot, body: &[u8], known: &Known) -> Result<(), Refusal> {
    let good = match (slot, value.kind) {
        (TIMESTAMP, Kind::Number) => timestamp::parse_unix(text(value, body)).is_some(),
        (TIMESTAMP, Kind::Text { escaped: false }) => timestamp::parse_text(inner(value, body)).is_some(),
        (TIMESTAMP, Kind::Text { escaped: true }) => timestamp::parse_text(&unescape(inner(value, body))).is_some(),
        (HOSTNAME, Kind::Text { .. }) => (1..=HOSTNAME_BYTES_MAX).contains(&decoded_len(value, body)),
        (MESSAGE, Kind::Text { .. }) => (1..=MESSAGE_BYTES_MAX).contains(&decoded_len(value, body)),
        (_, Kind::Text { .. }) => value.end - value.start > 2,
        _ => false,
    };
    if good { Ok(()) } else { Err(bad_value(slot, value, known)) }
}

#[cold]
fn bad_value(slot: usize, value: Slot, known: &Known) -> Refusal {
    let text = matches!(value.kind, Kind::Text { .. });
    let empty = text && value.end - value.start == 2;
    let name = known.name(slot);
    Refusal::validation(match slot {
        TIMESTAMP => "Field 'timestamp' must be RFC 3339, YYYY-MM-DD[T ]HH:MM:SS[.f][zone] or unix seconds".to_owned(),
        HOSTNAME if text && !empty => format!("Field 'hostname' is longer than {HOSTNAME_BYTES_MAX} bytes"),
        MESSAGE if text && !empty => format!("Field 'message' is longer than {MESSAGE_BYTES_MAX} bytes"),
        _ => format!("Field '{name}' must be a non-empty string"),
    })
}

fn text(value: Slot, body: &[u8]) -> &[u8] {
    body.get(value.start..value.end).unwrap_or_default()
}

/// A string's content without its quotes.
fn inner(value: Slot, body: &[u8]) -> &[u8] {
    body.get(value.start + 1..value.end - 1).unwrap_or_default()
}

/// Bytes of a string once decoded.
#[inline]
fn decoded_len(value: Slot, body: &[u8]) -> usize {
    match value.kind {
        Kind::Text { escaped: true } => unescape(inner(value, body)).len(),
        _ => value.end - value.start - 2,
    }
}

/// The number of a severity word (RFC 5424, and the names syslog daemons use) where the event has no number itself.
#[inline]
pub(crate) fn severity_number(event: &Event, body: &[u8]) -> Option<u8> {
    if event.slot(SYSLOG_SEVERITY).is_some() {
        return None;
    }
    let value = event.slot(SEVERITY).filter(|value| value.kind == Kind::Text { escaped: false })?;
    let word = inner(value, body);
    let words: [(&[&str], u8); 8] = [
        (&["info", "informational", "information"], 6),
        (&["notice"], 5),
        (&["warning", "warn"], 4),
        (&["err", "error"], 3),
        (&["crit", "critical"], 2),
        (&["alert"], 1),
        (&["emerg", "emergency", "panic"], 0),
        (&["debug"], 7),
    ];
    let is = |name: &&str| name.as_bytes().eq_ignore_ascii_case(word);
    words.iter().find(|(names, _)| names.iter().any(is)).map(|(_, number)| *number)
}
