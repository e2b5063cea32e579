//! The envelope of a dead letter (CONTRACT section 2) and the pipeline's own keys in what it holds. Pure.
//!
//! The element's text is kept as it came, number for number: objects are taken apart at their top level
//! only, into raw values.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A dead letter that was replayed this often in vain goes to `dlq:dead`.
pub const REPLAYS_MAX: u64 = 3;
/// How often an event or alert was put back from a DLQ.
const REPLAYS: &str = "_replays";
/// Failed POSTs of an alert.
const ATTEMPTS: &str = "_attempts";

/// What a dead letter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An element of the ingest queue.
    Event,
    /// An element of the alert queue.
    Alert,
}

impl Kind {
    /// The envelope's key for it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Alert => "alert",
        }
    }
}

/// Builds the envelope: `{"event"|"alert":…,"reason","detail","attempts","dead_lettered_at"}`. What is no
/// JSON object is kept as a string. `now` is RFC 3339.
pub fn build(kind: Kind, body: &[u8], reason: &str, detail: &str, attempts: u64, now: &str) -> Vec<u8> {
    let body = object_text(body).map_or_else(|| Cow::Owned(quoted(&String::from_utf8_lossy(body))), Cow::Borrowed);
    let mut text = format!(r#"{{"{}":{body}"#, kind.key());
    push_rest(&mut text, reason, detail, attempts);
    let _ = write!(text, r#","dead_lettered_at":{}}}"#, quoted(now));
    text.into_bytes()
}

/// An alert that waits for the end of a pause: `<length of alert>:<alert><rest of its envelope>`, so that
/// a script can put back the alert or finish the envelope without reading JSON.
pub fn refused_entry(alert: &[u8], reason: &str, detail: &str, attempts: u64) -> Vec<u8> {
    let mut rest = String::new();
    push_rest(&mut rest, reason, detail, attempts);
    let mut entry = format!("{}:", alert.len()).into_bytes();
    entry.extend_from_slice(alert);
    entry.extend_from_slice(rest.as_bytes());
    entry
}

fn push_rest(text: &mut String, reason: &str, detail: &str, attempts: u64) {
    let (reason, detail) = (quoted(reason), quoted(detail));
    let _ = write!(text, r#","reason":{reason},"detail":{detail},"attempts":{attempts}"#);
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// The text if it is one JSON object.
fn object_text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?.trim();
    (text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok()).then_some(text)
}

/// A dead letter, read.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    alert: Option<&'a RawValue>,
    /// Why it is here, one word.
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
    /// The same for people; the webhook's answer.
    #[serde(borrow, default)]
    pub detail: Cow<'a, str>,
    /// How often it was tried.
    #[serde(default)]
    pub attempts: u64,
    /// When it came here, RFC 3339.
    #[serde(borrow, default)]
    pub dead_lettered_at: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Reads one; `None` if it is none (somebody else pushed it).
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let envelope: Self = serde_json::from_slice(text).ok()?;
        (envelope.event.is_some() || envelope.alert.is_some()).then_some(envelope)
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        if self.alert.is_some() { Kind::Alert } else { Kind::Event }
    }

    /// The element's text as JSON: an object, or a string with what was no JSON.
    pub fn body(&self) -> &'a str {
        self.alert.or(self.event).map_or("null", RawValue::get)
    }

    /// The element, if it is an object.
    pub fn object(&self) -> Option<Object<'a>> {
        Object::parse(self.body())
    }
}

/// A JSON object's members in their order, values as text.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Object<'a> {
    /// Takes the top level apart; `None` if it is no object.
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str::<Members<'a>>(text).ok().map(|members| Self { members: members.0 })
    }

    /// The value of a key as JSON text.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_ref())
    }

    /// The value of a key if it is a string.
    pub fn text(&self, key: &str) -> Option<String> {
        serde_json::from_str(self.get(key)?).ok()
    }

    /// The value of a key as a count; 0 if there is none.
    pub fn count(&self, key: &str) -> u64 {
        self.get(key).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Sets a key to a JSON text, at the end.
    pub fn set(&mut self, key: &'static str, value: impl Into<String>) {
        self.remove(key);
        self.members.push((Cow::Borrowed(key), Cow::Owned(value.into())));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.members.retain(|(name, _)| name != key);
    }

    /// How often it was replayed.
    pub fn replays(&self) -> u64 {
        self.count(REPLAYS)
    }

    /// The object for a replay: replays counted, attempts forgotten.
    pub fn mark_replayed(&mut self, replays: u64) {
        self.remove(ATTEMPTS);
        self.set(REPLAYS, replays.to_string());
    }

    /// JSON text of all members.
    pub fn to_text(&self) -> String {
        let mut text = String::from("{");
        for (index, (key, value)) in self.members.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{}:{value}", quoted(key));
        }
        text.push('}');
        text
    }
}

/// An alert's text with its failed attempts counted, for the retry.
pub fn with_attempts(alert: &[u8], attempts: u64) -> Option<Vec<u8>> {
    let mut object = Object::parse(std::str::from_utf8(alert).ok()?)?;
    object.set(ATTEMPTS, attempts.to_string());
    Some(object.to_text().into_bytes())
}

struct Members<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    members.push((Cow::Owned(key), Cow::Borrowed(map.next_value::<&'de RawValue>()?.get())));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-02T03:04:05Z";

    #[test]
    fn keeps_objects_as_they_came_and_the_rest_as_strings() {
        let object = build(Kind::Event, br#" {"n":1e3, "a":[1.0]} "#, "json", "why \"so\"", 2, NOW);
        assert_eq!(
            String::from_utf8(object).unwrap(),
            r#"{"event":{"n":1e3, "a":[1.0]},"reason":"json","detail":"why \"so\"","attempts":2,"dead_lettered_at":"2026-01-02T03:04:05Z"}"#
        );
        for (body, kept) in
            [(&b"no json"[..], "\"no json\""), (b"[1]", "\"[1]\""), (b"\xff{", "\"\u{fffd}{\""), (b"", "\"\"")]
        {
            let text = build(Kind::Alert, body, "json", "", 0, NOW);
            let envelope = Envelope::parse(&text).unwrap();
            assert_eq!((envelope.kind(), envelope.body(), envelope.object().is_none()), (Kind::Alert, kept, true));
        }
    }

    #[test]
    fn a_refused_entry_completes_to_an_envelope() {
        let entry = String::from_utf8(refused_entry(b"{\"a\":1}", "http", "401", 1)).unwrap();
        let (length, rest) = entry.split_once(':').unwrap();
        assert_eq!(length, "7");
        let envelope = format!("{{\"alert\":{rest},\"dead_lettered_at\":\"{NOW}\"}}");
        let read = Envelope::parse(envelope.as_bytes()).unwrap();
        assert_eq!(
            (read.reason.as_ref(), read.detail.as_ref(), read.attempts, read.body()),
            ("http", "401", 1, "{\"a\":1}")
        );
    }

    #[test]
    fn attempts_and_replays_replace_older_ones_and_touch_nothing_else() {
        let once = with_attempts(br#"{"a":1.50,"\u0041":"\u00e9"}"#, 1).unwrap();
        let twice = with_attempts(&once, 2).unwrap();
        assert_eq!(String::from_utf8(twice.clone()).unwrap(), r#"{"a":1.50,"A":"\u00e9","_attempts":2}"#);
        let mut object = Object::parse(std::str::from_utf8(&twice).unwrap()).unwrap();
        object.mark_replayed(1);
        assert_eq!((object.replays(), object.count("_attempts")), (1, 0));
        assert_eq!(object.to_text(), r#"{"a":1.50,"A":"\u00e9","_replays":1}"#);
        assert!(with_attempts(b"[]", 1).is_none() && with_attempts(b"x", 1).is_none());
    }
}
