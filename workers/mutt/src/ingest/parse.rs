//! From a body to what is pushed: elements for the queue and dead letters for refused items.

use std::fmt::Write as _;

use super::ids::{IdText, RequestId};
use super::moment::{Moment, MomentText};
use super::reason::Reason;
use super::scan::{Event, Known};
use super::split::{self, Item, ItemError, Shape};
use super::validate::{self, Refusal};

/// What all events of a request have in common.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) request: RequestId,
    /// The request's correlation id: the sender's, or the request's own.
    pub(crate) correlation: String,
    pub(crate) received_at: MomentText,
}

impl Stamp {
    /// The time is taken now; `correlation` is the sender's id if it may be taken over.
    pub(crate) fn new(correlation: Option<&str>) -> Self {
        let now = Moment::now();
        let request = RequestId::new(now);
        let correlation = correlation.map_or_else(|| super::ids::as_str(&request.text()).to_owned(), ToOwned::to_owned);
        Self { request, correlation, received_at: now.text() }
    }
}

/// A refused item of a batch.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) index: usize,
    pub(crate) refusal: Refusal,
    /// The item as JSON: the object, or a string if it was not JSON.
    pub(crate) event: String,
}

/// What a body held.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) shape: Shape,
    /// All items.
    pub(crate) items: usize,
    /// The accepted events' elements, one after the other.
    pub(crate) elements: Vec<u8>,
    /// Where each element ends.
    pub(crate) ends: Vec<usize>,
    /// The refused items of a batch.
    pub(crate) refused: Vec<Refused>,
}

/// Why a body as a whole is refused.
#[derive(Debug)]
pub(crate) enum BodyRefusal {
    /// A single event, or a body that is neither JSON nor lines of it.
    Body { refusal: Refusal, kept: Option<String> },
    /// More refused items than the dead-letter list may ever hold.
    TooManyRefused,
}

/// Bytes a stored event is longer than what the sender sent, about.
const OWN_KEYS_BYTES: usize = 220;
/// Events of this size are assumed when room is made for a batch.
const EVENT_BYTES_TYPICAL: usize = 300;

/// Takes `body` apart and builds the elements. At most `refused_max` refused items are kept.
pub(crate) fn parse(
    body: &[u8],
    known: &Known,
    newline_type: bool,
    stamp: &Stamp,
    refused_max: usize,
) -> Result<Parsed, BodyRefusal> {
    let mut builder = Builder {
        body,
        known,
        stamp,
        refused_max,
        refused_count: 0,
        single: None,
        elements: Vec::with_capacity(body.len() + OWN_KEYS_BYTES * (1 + body.len() / EVENT_BYTES_TYPICAL)),
        ends: Vec::with_capacity(1 + body.len() / EVENT_BYTES_TYPICAL),
        refused: Vec::new(),
    };
    let (shape, items) = match split::split(body, known, newline_type, &mut |item| builder.take(&item)) {
        Ok(split) => split,
        Err(error) => return Err(whole_body_refusal(body, error)),
    };
    if let Some(refusal) = builder.single {
        return Err(BodyRefusal::Body { refusal, kept: None });
    }
    if items == 0 {
        return Err(BodyRefusal::Body { refusal: refusal_of(ItemError::Empty), kept: None });
    }
    if builder.refused_count > refused_max {
        return Err(BodyRefusal::TooManyRefused);
    }
    Ok(Parsed { shape, items, elements: builder.elements, ends: builder.ends, refused: builder.refused })
}

/// A body that starts an array and is broken beyond its items is a batch whose sender may be unable to repeat it: it is
/// kept as one dead letter.
#[cold]
fn whole_body_refusal(body: &[u8], error: ItemError) -> BodyRefusal {
    let kept = (body.trim_ascii_start().first() == Some(&b'[')).then(|| as_string(body));
    BodyRefusal::Body { refusal: refusal_of(error), kept }
}

struct Builder<'a> {
    body: &'a [u8],
    known: &'a Known,
    stamp: &'a Stamp,
    refused_max: usize,
    refused_count: usize,
    single: Option<Refusal>,
    elements: Vec<u8>,
    ends: Vec<usize>,
    refused: Vec<Refused>,
}

impl Builder<'_> {
    #[inline]
    fn take(&mut self, item: &Item<'_>) {
        let checked = match item.event {
            Ok(event) => validate::check(event, self.body, self.known).map(|()| event),
            Err(error) => Err(refusal_of(error)),
        };
        match checked {
            Ok(event) => self.accept(item, event),
            Err(refusal) => self.refuse(item, refusal),
        }
    }

    #[inline]
    fn accept(&mut self, item: &Item<'_>, event: &Event) {
        let out = &mut self.elements;
        let comma = event.write_open(self.body, out);
        if comma {
            out.push(b',');
        }
        if let Some(severity) = validate::severity_number(event, self.body) {
            out.extend_from_slice(b"\"syslog_severity\":");
            out.push(b'0' + severity);
            out.push(b',');
        }
        match item.shape {
            Shape::Single => {
                let id = self.stamp.request.text();
                write_own_keys(out, &id, self.stamp.correlation.as_bytes(), &self.stamp.received_at);
            }
            Shape::Batch => {
                let id: IdText = self.stamp.request.item(item.index);
                write_own_keys(out, &id, &id, &self.stamp.received_at);
                out.extend_from_slice(b",\"_request_id\":\"");
                out.extend_from_slice(self.stamp.correlation.as_bytes());
                out.push(b'"');
            }
        }
        out.push(b'}');
        self.ends.push(out.len());
    }

    #[cold]
    fn refuse(&mut self, item: &Item<'_>, refusal: Refusal) {
        if item.shape == Shape::Single {
            self.single = Some(refusal);
            return;
        }
        self.refused_count += 1;
        if self.refused_count > self.refused_max {
            self.refused.clear();
            return;
        }
        let raw = self.body.get(item.range.clone()).unwrap_or_default();
        let event = match &item.event {
            Ok(event) => {
                let mut object = Vec::with_capacity(raw.len());
                event.write_open(self.body, &mut object);
                object.push(b'}');
                String::from_utf8_lossy(&object).into_owned()
            }
            Err(ItemError::Json(_)) => as_string(raw),
            Err(ItemError::Empty | ItemError::NotAnObject) => String::from_utf8_lossy(raw).into_owned(),
        };
        self.refused.push(Refused { index: item.index, refusal, event });
    }
}

#[inline]
fn write_own_keys(out: &mut Vec<u8>, id: &[u8], correlation: &[u8], received_at: &MomentText) {
    out.extend_from_slice(b"\"_event_id\":\"");
    out.extend_from_slice(id);
    out.extend_from_slice(b"\",\"_correlation_id\":\"");
    out.extend_from_slice(correlation);
    out.extend_from_slice(b"\",\"_received_at\":\"");
    received_at.write(out);
    out.push(b'"');
}

/// Any bytes as a JSON string.
fn as_string(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw).replace('\0', "\u{fffd}");
    serde_json::Value::String(text).to_string()
}

#[cold]
fn refusal_of(error: ItemError) -> Refusal {
    let mut message = String::new();
    match error {
        ItemError::Empty => message.push_str("Empty or null payload"),
        ItemError::NotAnObject => message.push_str("Payload must be a JSON object"),
        ItemError::Json(error) => {
            let _ = write!(message, "Invalid JSON: {error}");
        }
    }
    Refusal { reason: Reason::Json, message }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const GOOD: &str = r#"{"hostname":"sw1","message":"up","timestamp":"2024-06-01T12:00:00Z","severity":"Err"}"#;

    fn parse_text(body: &str) -> Result<Parsed, BodyRefusal> {
        let known = Known::new(["hostname", "message", "timestamp"]);
        parse(body.as_bytes(), &known, false, &Stamp::new(Some("req-1")), 3)
    }

    fn elements(parsed: &Parsed) -> Vec<Value> {
        let mut start = 0;
        let slices = parsed.ends.iter().map(|end| {
            let slice = &parsed.elements[start..*end];
            start = *end;
            slice
        });
        slices.map(|slice| serde_json::from_slice(slice).unwrap()).collect()
    }

    fn refusal(body: &str) -> String {
        match parse_text(body) {
            Err(BodyRefusal::Body { refusal, .. }) => refusal.message,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn a_single_event_keeps_the_senders_correlation_id() {
        let parsed = parse_text(GOOD).unwrap();
        let event = &elements(&parsed)[0];
        assert_eq!(event["_correlation_id"], "req-1");
        assert_eq!(event["syslog_severity"], 3);
        assert_eq!(event["message"], "up");
        let received = event["_received_at"].as_str().unwrap();
        assert!(received.ends_with('Z') && received.len() == 27, "{received}");
        assert_eq!(event["_event_id"].as_str().unwrap().len(), 36);
        assert_eq!(event.get("_request_id"), None);
    }

    #[test]
    fn events_of_a_batch_have_ids_of_their_own() {
        let parsed = parse_text(&format!("[{GOOD},{GOOD}]")).unwrap();
        let events = elements(&parsed);
        assert_eq!(events.len(), 2);
        assert_ne!(events[0]["_event_id"], events[1]["_event_id"]);
        for event in events {
            assert_eq!(event["_event_id"], event["_correlation_id"]);
            assert_eq!(event["_request_id"], "req-1");
        }
    }

    #[test]
    fn a_senders_number_wins_over_the_severity_word() {
        for (fields, expected) in [
            (r#""severity":"warning""#, json!(4)),
            (r#""severity":"EMERG""#, json!(0)),
            (r#""severity":"info","syslog_severity":2"#, json!(2)),
            (r#""severity":"odd""#, Value::Null),
            (r#""severity":3"#, Value::Null),
        ] {
            let parsed = parse_text(&GOOD.replace(r#""severity":"Err""#, fields)).unwrap();
            assert_eq!(elements(&parsed)[0].get("syslog_severity").unwrap_or(&Value::Null), &expected, "{fields}");
        }
    }

    #[test]
    fn required_fields_are_checked() {
        assert_eq!(refusal("{}"), "Missing required fields: ['hostname', 'message', 'timestamp']");
        assert_eq!(refusal(r#"{"hostname":"h","timestamp":1}"#), "Missing required fields: ['message']");
        assert_eq!(refusal(""), "Empty or null payload");
        assert_eq!(refusal("null"), "Empty or null payload");
        assert_eq!(refusal("[]"), "Empty or null payload");
        assert_eq!(refusal("5"), "Payload must be a JSON object");
        assert_eq!(refusal("{"), "Invalid JSON: expected a key in double quotes at byte 1");
        for (from, to, message) in [
            (r#""sw1""#, r#""""#, "Field 'hostname' must be a non-empty string"),
            (r#""sw1""#, "7", "Field 'hostname' must be a non-empty string"),
            (r#""up""#, "null", "Field 'message' must be a non-empty string"),
            (r#""up""#, r#"["up"]"#, "Field 'message' must be a non-empty string"),
            (
                r#""2024-06-01T12:00:00Z""#,
                r#""yesterday""#,
                "Field 'timestamp' must be RFC 3339, YYYY-MM-DD[T ]HH:MM:SS[.f][zone] or unix seconds",
            ),
        ] {
            assert_eq!(refusal(&GOOD.replace(from, to)), message);
        }
        assert!(parse_text(&GOOD.replace(r#""2024-06-01T12:00:00Z""#, "1717243200.25")).is_ok());
        assert!(parse_text(&GOOD.replace("2024-06-01T12:00:00Z", r"2024-06-01T12:00:00\u005a")).is_ok());
        assert!(parse_text(&GOOD.replace("sw1", &"h".repeat(255))).is_ok());
        assert!(parse_text(&GOOD.replace("sw1", &r"\u00e4".repeat(127))).is_ok());
        assert!(refusal(&GOOD.replace("sw1", &"h".repeat(256))).contains("longer than 255 bytes"));
        assert!(refusal(&GOOD.replace("up", &"m".repeat((1 << 20) + 1))).contains("longer than 1048576 bytes"));
    }

    #[test]
    fn refused_items_are_kept_as_json() {
        let body = format!(r#"[{GOOD},{{"hostname":"h","_x":1}},{{"a":NaN}},[5]]"#);
        let parsed = parse_text(&body).unwrap();
        assert_eq!((parsed.items, parsed.ends.len()), (4, 1));
        let kept: Vec<(usize, &str, &str)> =
            parsed.refused.iter().map(|r| (r.index, r.refusal.reason.word(), r.event.as_str())).collect();
        assert_eq!(
            kept,
            [(1, "validation", r#"{"hostname":"h"}"#), (2, "json", r#""{\"a\":NaN}""#), (3, "json", "[5]")]
        );
        assert!(matches!(parse_text("[1,2,3,4]"), Err(BodyRefusal::TooManyRefused)));
    }

    #[test]
    fn a_broken_array_is_kept_whole() {
        match parse_text(&format!("[{GOOD},{{")) {
            Err(BodyRefusal::Body { kept: Some(kept), .. }) => {
                let text: String = serde_json::from_str(&kept).unwrap();
                assert!(text.starts_with("[{\"hostname\""));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(parse_text("{"), Err(BodyRefusal::Body { kept: None, .. })));
    }
}
