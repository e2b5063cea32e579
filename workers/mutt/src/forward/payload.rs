//! An alert of the queue as the webhook's body (CONTRACT section 5). Pure.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use uuid::Uuid;

/// Why an alert of the queue cannot be sent at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsendable {
    /// Not a JSON object, or a known key with another type.
    #[error("{0}")]
    Json(String),
    /// A required key is missing or empty.
    #[error("missing required fields: {0}")]
    Missing(&'static str),
}

impl Unsendable {
    /// The reason in the dead letter and the log.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Missing(_) => "validation",
        }
    }
}

#[derive(Deserialize)]
struct Alert<'a> {
    #[serde(borrow)]
    hostname: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message_body: Option<Cow<'a, str>>,
    #[serde(borrow)]
    team_assignment: Option<Cow<'a, str>>,
    #[serde(borrow)]
    severity: Option<&'a RawValue>,
    #[serde(borrow)]
    raw_json: Option<&'a RawValue>,
    #[serde(rename = "_event_id", borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(rename = "_correlation_id", borrow)]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(rename = "_attempts", default)]
    attempts: u32,
    #[serde(rename = "_replays", default)]
    replays: u32,
}

/// The pipeline's own keys of the event in the alert.
#[derive(Deserialize, Default)]
struct OwnKeys<'a> {
    #[serde(rename = "_event_id", borrow, default)]
    event_id: Option<Cow<'a, str>>,
    #[serde(rename = "_correlation_id", borrow, default)]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(rename = "_received_at", borrow, default)]
    received_at: Option<Cow<'a, str>>,
    /// Of the event; an alert that was replayed itself has its own.
    #[serde(rename = "_replays", default)]
    replays: Option<serde::de::IgnoredAny>,
}

#[derive(Serialize)]
struct Body<'a> {
    signature: &'a str,
    source_id: &'a str,
    external_id: &'a str,
    manager: &'static str,
    source: &'static str,
    class: &'a str,
    agent: &'static str,
    agent_location: &'static str,
    r#type: &'static str,
    severity: u8,
    description: &'a str,
    agent_time: i64,
    custom_info: &'a RawValue,
}

/// What is sent for one alert, and what the forwarder must know of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The body of the POST.
    pub(crate) body: Vec<u8>,
    /// The id that stays the same over all deliveries of this alert.
    pub(crate) external_id: String,
    /// POSTs that failed before.
    pub(crate) attempts: u32,
    /// How often it was replayed from a DLQ.
    pub(crate) replays: u32,
    /// When the event was accepted, unless it or its alert lay in a DLQ since.
    pub(crate) accepted_at: Option<jiff::Timestamp>,
}

/// Severity word to Moogsoft's number; unknown words count as Warning.
fn severity(word: &str) -> u8 {
    const WORDS: [(&str, u8); 6] =
        [("critical", 5), ("major", 4), ("warning", 3), ("minor", 2), ("info", 1), ("clear", 0)];
    WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map_or(3, |(_, number)| *number)
}

/// Builds the webhook's body from the queue's text; `now_s` (unix seconds) stands in for an event
/// that does not say when it was received.
pub(crate) fn build(text: &[u8], now_s: i64) -> Result<Payload, Unsendable> {
    let alert: Alert<'_> = serde_json::from_slice(text).map_err(|error| Unsendable::Json(error.to_string()))?;
    let hostname = alert.hostname.filter(|host| !host.is_empty());
    let message = alert.message_body.filter(|message| !message.is_empty());
    let (hostname, message) = match (hostname, message) {
        (Some(hostname), Some(message)) => (hostname, message),
        (Some(_), None) => return Err(Unsendable::Missing("['message_body']")),
        (None, Some(_)) => return Err(Unsendable::Missing("['hostname']")),
        (None, None) => return Err(Unsendable::Missing("['hostname', 'message_body']")),
    };
    let event: OwnKeys<'_> = alert.raw_json.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let external_id = alert
        .event_id
        .or(event.event_id)
        .or(alert.correlation_id)
        .or(event.correlation_id)
        .map_or_else(|| made_id(&hostname, &message, alert.raw_json), Cow::into_owned);
    let received_at = event.received_at.and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let agent_time = received_at.map_or(now_s, jiff::Timestamp::as_second);
    let word = alert.severity.and_then(|raw| serde_json::from_str::<Cow<'_, str>>(raw.get()).ok());
    let body = Body {
        signature: &hostname,
        source_id: &hostname,
        external_id: &external_id,
        manager: "MUTT",
        source: "MUTT Alerter",
        class: alert.team_assignment.as_deref().unwrap_or_default(),
        agent: concat!("MUTT v", env!("CARGO_PKG_VERSION")),
        agent_location: "Alerter Service",
        r#type: "Alert",
        severity: word.map_or(3, |word| severity(&word)),
        description: &message,
        agent_time,
        custom_info: alert.raw_json.unwrap_or(RawValue::NULL),
    };
    let body = serde_json::to_vec(&body).map_err(|error| Unsendable::Json(error.to_string()))?;
    let accepted_at = received_at.filter(|_| alert.replays == 0 && event.replays.is_none());
    Ok(Payload { body, external_id, attempts: alert.attempts, replays: alert.replays, accepted_at })
}

/// An alert without any id (pushed by a script of the operator's) still needs one that a repeat keeps.
fn made_id(hostname: &str, message: &str, raw: Option<&RawValue>) -> String {
    let name = format!("{hostname}\0{message}\0{}", raw.map_or("", RawValue::get));
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sent(text: &str) -> Value {
        serde_json::from_slice(&build(text.as_bytes(), 17).unwrap().body).unwrap()
    }

    #[test]
    fn has_every_field_of_the_contract() {
        let text = r#"{"hostname":"sw1","team_assignment":"NETO","severity":"Critical","message_body":"down \"x\"","raw_json":{"n":1e3,"_event_id":"e1","_correlation_id":"c1","_received_at":"2026-01-02T03:04:05.000006Z"},"rule":"r","_correlation_id":"c1"}"#;
        assert_eq!(
            sent(text),
            json!({"signature":"sw1","source_id":"sw1","external_id":"e1","manager":"MUTT","source":"MUTT Alerter",
                "class":"NETO","agent":concat!("MUTT v", env!("CARGO_PKG_VERSION")),"agent_location":"Alerter Service",
                "type":"Alert","severity":5,"description":"down \"x\"","agent_time":1_767_323_045,
                "custom_info":{"n":1e3,"_event_id":"e1","_correlation_id":"c1","_received_at":"2026-01-02T03:04:05.000006Z"}})
        );
        let body = String::from_utf8(build(text.as_bytes(), 17).unwrap().body).unwrap();
        assert!(body.contains(r#"{"n":1e3,"#), "the event passes as text: {body}");
    }

    #[test]
    fn severity_ignores_case_and_defaults_to_warning() {
        for (word, number) in [
            ("\"CRITICAL\"", 5),
            ("\"major\"", 4),
            ("\"Warning\"", 3),
            ("\"minor\"", 2),
            ("\"INFO\"", 1),
            ("\"clear\"", 0),
            ("\"odd\"", 3),
            ("7", 3),
            ("null", 3),
        ] {
            let text = format!(r#"{{"hostname":"h","message_body":"m","severity":{word}}}"#);
            assert_eq!(sent(&text)["severity"], number, "{word}");
        }
    }

    #[test]
    fn external_id_falls_back_and_stays_stable() {
        let correlation = sent(r#"{"hostname":"h","message_body":"m","_correlation_id":"c","raw_json":{}}"#);
        assert_eq!(correlation["external_id"], "c");
        let own = sent(r#"{"hostname":"h","message_body":"m","_event_id":"own","raw_json":{"_event_id":"e"}}"#);
        assert_eq!(own["external_id"], "own");
        let first = build(br#"{"hostname":"h","message_body":"m"}"#, 1).unwrap().external_id;
        let again = build(br#"{"hostname":"h","message_body":"m","_attempts":3}"#, 2).unwrap();
        assert_eq!((first, 3), (again.external_id, again.attempts));
    }

    #[test]
    fn unsendable_alerts_say_why() {
        for (text, reason, detail) in [
            ("nonsense", "json", "expected"),
            ("[1]", "json", ""),
            (r#"{"hostname":3,"message_body":"m"}"#, "json", "invalid type"),
            (r#"{"hostname":"h"}"#, "validation", "['message_body']"),
            (r#"{"message_body":"m","hostname":""}"#, "validation", "['hostname']"),
            ("{}", "validation", "['hostname', 'message_body']"),
            (r#"{"hostname":"h","message_body":"m""#, "json", "EOF"),
        ] {
            let error = build(text.as_bytes(), 0).unwrap_err();
            assert_eq!(error.reason(), reason, "{text}");
            assert!(error.to_string().contains(detail), "{text}: {error}");
        }
    }
}
