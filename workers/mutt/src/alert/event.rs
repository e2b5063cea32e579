//! A queued element as the alerter sees it: known keys borrowed, everything else skipped unread.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use uuid::Uuid;

use super::reason::{Reason, Rejected};
use crate::audit::timestamp;

/// The parts of an event that decide, audit and forward it.
#[derive(Debug, Default)]
pub(crate) struct QueuedEvent<'a> {
    /// The sending device.
    pub hostname: Cow<'a, str>,
    /// The message, escapes undone.
    pub message: Cow<'a, str>,
    /// Microseconds since 2000-01-01 UTC.
    pub timestamp: i64,
    /// OID of a trap.
    pub trap_oid: Option<Cow<'a, str>>,
    /// 0 to 7; from the word in `severity` where the number is absent.
    pub syslog_severity: Option<i64>,
    /// Address of the sender.
    pub source_ip: Option<Cow<'a, str>>,
    /// The pipeline's id, given at ingest.
    pub event_id: Option<Uuid>,
    /// The sender's or the pipeline's.
    pub correlation_id: Option<Cow<'a, str>>,
    /// Microseconds since 2000-01-01 UTC.
    pub received_at: Option<i64>,
    /// Whether a person put it back from a dead letter queue.
    pub replayed: bool,
}

/// When an element was accepted, as far as that says how fast the pipeline is.
pub(crate) fn accepted_at(element: &[u8]) -> Option<i64> {
    QueuedEvent::parse(element).ok()?.0.accepted_at()
}

impl<'a> QueuedEvent<'a> {
    /// Reads an element.
    ///
    /// # Errors
    /// Why it can never be processed: not UTF-8, not JSON, no object, or a required field is missing.
    pub(crate) fn parse(element: &'a [u8]) -> Result<(Self, &'a str), Rejected> {
        let text = std::str::from_utf8(element).map_err(|error| Rejected::new(Reason::NotUtf8, error))?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let fields = deserializer.deserialize_any(FieldsVisitor).map_err(|error| {
            let reason = if error.is_data() { Reason::NotObject } else { Reason::NotJson };
            Rejected::new(reason, error)
        })?;
        deserializer.end().map_err(|error| Rejected::new(Reason::NotJson, error))?;
        Ok((fields.into_event()?, text))
    }

    /// When it was accepted, unless it lay in a dead letter queue since.
    pub(crate) fn accepted_at(&self) -> Option<i64> {
        self.received_at.filter(|_| !self.replayed)
    }

    /// What the rules look at.
    pub(crate) fn view(&self) -> mutt_rules::Event<'_> {
        mutt_rules::Event {
            hostname: &self.hostname,
            message: &self.message,
            trap_oid: self.trap_oid.as_deref(),
            syslog_severity: self.syslog_severity,
            source_ip: self.source_ip.as_deref(),
        }
    }
}

/// Values of the known keys, as they came.
#[derive(Default)]
struct Fields<'a> {
    hostname: Value<'a>,
    message: Value<'a>,
    timestamp: Value<'a>,
    trap_oid: Value<'a>,
    syslog_severity: Value<'a>,
    severity: Value<'a>,
    source_ip: Value<'a>,
    event_id: Value<'a>,
    correlation_id: Value<'a>,
    received_at: Value<'a>,
    replays: Value<'a>,
}

#[derive(Default)]
enum Value<'a> {
    #[default]
    None,
    Text(Cow<'a, str>),
    Integer(i64),
    Float(f64),
}

impl<'a> Value<'a> {
    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    fn time(&self) -> Option<i64> {
        match self {
            Self::Text(text) => timestamp::parse(text),
            Self::Integer(seconds) => timestamp::from_unix(*seconds, 0),
            Self::Float(seconds) => {
                timestamp::from_unix(seconds.floor() as i64, ((seconds - seconds.floor()) * 1e6).round() as i64)
            }
            Self::None => None,
        }
    }

    fn severity_number(&self) -> Option<i64> {
        let number = match self {
            Self::Integer(number) => Some(*number),
            Self::Float(number) if number.fract() == 0.0 => Some(*number as i64),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| (0..=7).contains(number))
    }

    fn severity_word(&self) -> Option<i64> {
        let Self::Text(word) = self else { return None };
        SEVERITY_WORDS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, number)| *number)
    }
}

/// RFC 5424 table 2, with the words of syslog.h, deprecated ones too.
const SEVERITY_WORDS: [(&str, i64); 13] = [
    ("emerg", 0),
    ("panic", 0),
    ("emergency", 0),
    ("alert", 1),
    ("crit", 2),
    ("critical", 2),
    ("err", 3),
    ("error", 3),
    ("warning", 4),
    ("warn", 4),
    ("notice", 5),
    ("info", 6),
    ("debug", 7),
];

impl<'a> Fields<'a> {
    fn into_event(self) -> Result<QueuedEvent<'a>, Rejected> {
        let timestamp = self.timestamp.time();
        let hostname = self.hostname.text();
        let message = self.message.text();
        if let (Some(hostname), Some(message), Some(timestamp)) = (hostname.as_ref(), message.as_ref(), timestamp) {
            let uuid = self.event_id.text().and_then(|id| Uuid::parse_str(&id).ok());
            return Ok(QueuedEvent {
                hostname: hostname.clone(),
                message: message.clone(),
                timestamp,
                trap_oid: self.trap_oid.text(),
                syslog_severity: self.syslog_severity.severity_number().or_else(|| self.severity.severity_word()),
                source_ip: self.source_ip.text(),
                event_id: uuid,
                correlation_id: self.correlation_id.text(),
                received_at: self.received_at.time(),
                replayed: !matches!(self.replays, Value::None),
            });
        }
        if !matches!(self.timestamp, Value::None) && timestamp.is_none() && hostname.is_some() && message.is_some() {
            return Err(Rejected::new(Reason::BadTimestamp, "timestamp is no time"));
        }
        let absent =
            [("hostname", hostname.is_none()), ("message", message.is_none()), ("timestamp", timestamp.is_none())];
        let names: Vec<&str> = absent.into_iter().filter(|(_, absent)| *absent).map(|(name, _)| name).collect();
        Err(Rejected::new(Reason::MissingField, format!("missing, empty or not text: {}", names.join(", "))))
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    // A key that comes twice: the last one counts, as in PostgreSQL's jsonb.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let slot = match key {
                Key::Hostname => &mut fields.hostname,
                Key::Message => &mut fields.message,
                Key::Timestamp => &mut fields.timestamp,
                Key::TrapOid => &mut fields.trap_oid,
                Key::SyslogSeverity => &mut fields.syslog_severity,
                Key::Severity => &mut fields.severity,
                Key::SourceIp => &mut fields.source_ip,
                Key::EventId => &mut fields.event_id,
                Key::CorrelationId => &mut fields.correlation_id,
                Key::ReceivedAt => &mut fields.received_at,
                Key::Replays => &mut fields.replays,
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *slot = map.next_value_seed(ValueVisitor)?;
        }
        Ok(fields)
    }
}

enum Key {
    Hostname,
    Message,
    Timestamp,
    TrapOid,
    SyslogSeverity,
    Severity,
    SourceIp,
    EventId,
    CorrelationId,
    ReceivedAt,
    Replays,
    Other,
}

struct KeySeed;

impl<'de> serde::de::DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "hostname" => Key::Hostname,
            "message" => Key::Message,
            "timestamp" => Key::Timestamp,
            "trap_oid" => Key::TrapOid,
            "syslog_severity" => Key::SyslogSeverity,
            "severity" => Key::Severity,
            "source_ip" => Key::SourceIp,
            "_event_id" => Key::EventId,
            "_correlation_id" => Key::CorrelationId,
            "_received_at" => Key::ReceivedAt,
            "_replays" => Key::Replays,
            _ => Key::Other,
        })
    }
}

struct ValueVisitor;

impl<'de> serde::de::DeserializeSeed<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(number).map_or(Value::None, Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(number))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::None)
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value<'de>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn reason(element: &[u8]) -> Reason {
        QueuedEvent::parse(element).map(|_| ()).unwrap_err().reason
    }

    #[test]
    fn borrows_what_it_knows() {
        let element = br#"{"x":{"hostname":"no"},"hostname":"sw1","message":"a\"b\u0000","timestamp":1764072000.25,"severity":"err","trap_oid":"1.3.6","_event_id":"019ab6a0-0000-7000-8000-000000000001","_correlation_id":"c","_received_at":"2025-11-25T12:00:00.000001Z"}"#;
        let (event, text) = QueuedEvent::parse(element).unwrap();
        assert_eq!(text.as_bytes(), element);
        assert!(matches!(event.hostname, Cow::Borrowed("sw1")));
        assert_eq!(event.message, "a\"b\0");
        assert_eq!(Some(event.timestamp), timestamp::parse("2025-11-25T12:00:00.25Z"));
        assert_eq!(event.syslog_severity, Some(3));
        assert_eq!(event.trap_oid.as_deref(), Some("1.3.6"));
        assert_eq!(event.received_at, Some(event.timestamp - 249_999));
        assert!(event.event_id.is_some());
    }

    #[test]
    fn zero_is_a_severity_and_a_number_beats_the_word() {
        let element = br#"{"hostname":"a","message":"b","timestamp":"1","syslog_severity":0,"severity":"err"}"#;
        assert_eq!(QueuedEvent::parse(element).unwrap().0.syslog_severity, Some(0));
    }

    #[test]
    fn says_why_not() {
        assert_eq!(reason(b"\xff{}"), Reason::NotUtf8);
        assert_eq!(reason(b"{\"hostname\":"), Reason::NotJson);
        assert_eq!(reason(b"{} x"), Reason::NotJson);
        assert_eq!(reason(b"[1]"), Reason::NotObject);
        assert_eq!(reason(b"3"), Reason::NotObject);
        assert_eq!(reason(br#"{"hostname":"a","message":7,"timestamp":"1"}"#), Reason::MissingField);
        assert_eq!(reason(br#"{"hostname":"a","message":"b","timestamp":"soon"}"#), Reason::BadTimestamp);
        assert_eq!(reason(br#"{"hostname":"a","message":"b","timestamp":null}"#), Reason::MissingField);
    }
}
