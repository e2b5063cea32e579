//! One line of rsyslog to the JSON object that is posted. Pure but for the clock of a line without a timestamp.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::trap::{TAG, Trap};

/// Longest message of an event that the relay makes itself: half of what the ingestor takes, since escapes grow.
const MESSAGE_BYTES_MAX: usize = 512 * 1024;

/// What to write to the spool for a line, without its line end: JSON objects as they are, anything else made an event at
/// once, since only now its time of arrival is known.
pub(crate) fn received<'a>(line: &'a [u8], collector: &str) -> Cow<'a, [u8]> {
    let line = trim_end(line);
    if line.first() == Some(&b'{') && line.last() == Some(&b'}') {
        return Cow::Borrowed(line);
    }
    Cow::Owned(plain(line, collector))
}

/// The JSON object to post for a line of the spool.
pub(crate) fn event<'a>(line: &'a [u8], collector: &str) -> Cow<'a, [u8]> {
    let text = String::from_utf8_lossy(line);
    if text.contains(TAG) {
        return Cow::Owned(trap_event(&text).unwrap_or_else(|| plain(line, collector)));
    }
    if !text.starts_with('{') || serde_json::from_str::<IgnoredAny>(&text).is_err() {
        return Cow::Owned(plain(line, collector));
    }
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// An event made of a line that is no JSON object, or that the ingestor would not take as it is.
pub(crate) fn plain(line: &[u8], collector: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(trim_end(line));
    let message = cut(text.trim(), MESSAGE_BYTES_MAX);
    let message = if message.is_empty() { "(empty line)" } else { message };
    let timestamp = jiff::Timestamp::now().to_string();
    json!({"timestamp": timestamp, "hostname": collector, "message": message, "source": "syslog"})
        .to_string()
        .into_bytes()
}

/// The event of a trap line: the device in place of the collector, and what the trap says. `None` if `text` is no JSON object.
/// An object whose message is no trap line after all stays as it is.
fn trap_event(text: &str) -> Option<Vec<u8>> {
    let mut event: Map<String, Value> = serde_json::from_str(text).ok()?;
    let Some(trap) = event.get("message").and_then(Value::as_str).and_then(Trap::parse) else {
        return Some(text.as_bytes().to_vec());
    };
    let message = trap.message();
    event.insert("message".into(), cut(&message, MESSAGE_BYTES_MAX).into());
    event.insert("source".into(), "snmp".into());
    // The word is that of snmptrapd's own logging, not the trap's: rules by severity must not see it.
    event.remove("severity");
    if let Some(collector) = event.remove("hostname") {
        event.insert("collector".into(), collector.clone());
        event.insert("hostname".into(), trap.hostname.map_or(collector, Value::from));
    }
    if let Some(address) = trap.source_ip {
        event.insert("source_ip".into(), address.to_string().into());
    }
    if let Some(oid) = trap.notification {
        event.insert("trap_oid".into(), oid.into());
    }
    if let Some(enterprise) = trap.enterprise {
        event.insert("enterprise".into(), enterprise.into());
    }
    event.insert("snmp_version".into(), trap.version.into());
    event.insert("variables".into(), serde_json::to_value(trap.variables).ok()?);
    serde_json::to_vec(&event).ok()
}

/// At most `limit` bytes of `text`, at a character's border.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| !matches!(b, b'\n' | b'\r' | b' ' | b'\t')).map_or(0, |last| last + 1);
    &line[..end]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYSLOG: &str = r#"{"timestamp":"2026-11-25T10:00:00+00:00","hostname":"core-1","severity":"warning","facility":"local5","message":"%MESSAGE%","source":"snmp","source_ip":"127.0.0.1"}"#;

    fn trap_line(message: &str) -> String {
        let quoted = serde_json::to_string(message).unwrap();
        SYSLOG.replace("\"%MESSAGE%\"", &quoted)
    }

    fn object(line: &[u8]) -> Value {
        serde_json::from_slice(&event(line, "collector-1")).unwrap()
    }

    #[test]
    fn a_json_line_passes_byte_for_byte() {
        let line = br#"{"timestamp":"2026-11-25T10:00:00Z","hostname":"h","message":"caf\u00e9 1.50","n":1.50}"#;
        assert_eq!(received(line, "c").as_ref(), line);
        assert_eq!(event(line, "c").as_ref(), line);
    }

    #[test]
    fn a_trap_names_the_device_and_loses_the_daemons_severity() {
        let line = trap_line(
            "mutt-trap|1|0.0.0.0|0.0.0.0|UDP: [10.0.0.7]:1->[10.0.0.1]:162|sw-7|0|0|.|.1.3.6.1.6.3.1.1.4.1.0 = OID: .1.3.6.1.6.3.1.1.5.3|~|.1.3.6.1.4.1.9 = STRING: \"q \\\" #012 x\"",
        );
        let event = object(line.as_bytes());
        assert_eq!(event["hostname"], "sw-7");
        assert_eq!(event["collector"], "core-1");
        assert_eq!(event["source_ip"], "10.0.0.7");
        assert_eq!(event["trap_oid"], "1.3.6.1.6.3.1.1.5.3");
        assert_eq!(event["source"], "snmp");
        assert_eq!(event["variables"][1]["value"], "q \" \n x");
        assert_eq!(event["timestamp"], "2026-11-25T10:00:00+00:00");
        assert!(event.get("severity").is_none());
    }

    #[test]
    fn a_damaged_trap_is_still_sent_as_it_came() {
        let line = trap_line("mutt-trap|1|damaged");
        assert_eq!(object(line.as_bytes())["message"], "mutt-trap|1|damaged");
        assert_eq!(object(b"mutt-trap|1|not json")["message"], "mutt-trap|1|not json");
    }

    #[test]
    fn bytes_that_are_not_utf_8_become_replacement_characters() {
        let event = object(b"{\"timestamp\":\"1\",\"hostname\":\"h\",\"message\":\"gr\xfcn\"}");
        assert_eq!(event["message"], "gr\u{fffd}n");
    }

    #[test]
    fn what_is_no_json_object_becomes_an_event_of_the_collector() {
        for line in [&b"plain text\n"[..], b"[1]", b"{broken", b"{\"a\":}", b"\xff\xfe", b"\"x\""] {
            let spooled = received(line, "collector-1");
            let event = object(&spooled);
            assert_eq!(event["hostname"], "collector-1");
            assert!(!event["message"].as_str().unwrap().is_empty());
            event["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        }
    }

    #[test]
    fn a_huge_line_is_cut_at_a_character() {
        let event = object("ü".repeat(1024 * 1024).as_bytes());
        assert!(event["message"].as_str().unwrap().len() <= MESSAGE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_json_object_without_line_feeds(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let line: Vec<u8> = line.into_iter().filter(|b| *b != b'\n').collect();
            let spooled = received(&line, "c").into_owned();
            prop_assert!(!spooled.contains(&b'\n'));
            let posted = event(&spooled, "c").into_owned();
            prop_assert!(!posted.contains(&b'\n'));
            prop_assert!(serde_json::from_slice::<Value>(&posted).unwrap().is_object());
        }
    }
}
