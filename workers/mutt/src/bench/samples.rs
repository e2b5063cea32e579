//! Events and alerts to measure with.

use mutt_queue::EventId;
use mutt_rules::synthetic::SyntheticEvent;
use serde_json::json;

/// Seed of rules and events: every run measures the same.
pub(super) const SEED: u64 = 7;

/// One event of 300 bytes, as a sender posts it.
pub(super) fn event_300() -> String {
    let mut event = json!({
        "timestamp": "2026-11-25T12:00:00.000Z", "hostname": "core-router-17.example.net", "severity": "err",
        "facility": "local7", "source": "syslog", "message": "%LINEPROTO-5-UPDOWN: Line protocol on Interface "
    });
    let padding = 300_usize.saturating_sub(event.to_string().len());
    let message = format!("{}{}", event["message"].as_str().unwrap_or_default(), "x".repeat(padding));
    event["message"] = message.into();
    event.to_string()
}

/// A JSON array of `count` events of 300 bytes.
pub(super) fn batch_300(count: usize) -> String {
    format!("[{}]", vec![event_300(); count].join(","))
}

/// An event as it stands in the queue.
pub(super) fn queued(event: &SyntheticEvent) -> String {
    let id = EventId::new();
    let mut text = sent(event);
    text.pop();
    let now = jiff::Timestamp::now();
    text + &format!(",\"_event_id\":\"{id}\",\"_correlation_id\":\"{id}\",\"_received_at\":\"{now}\"}}")
}

/// An alert as it stands in the queue.
pub(super) fn alert(number: usize) -> String {
    let id = EventId::new();
    let event =
        json!({"hostname": format!("core-{}", number % 50), "message": event_300(), "_event_id": id.to_string()});
    json!({
        "hostname": event["hostname"], "team_assignment": "NETO", "severity": "Warning", "rule": "bench",
        "message_body": event["message"], "raw_json": event, "_event_id": id.to_string(), "_correlation_id": id.to_string(),
    })
    .to_string()
}

/// An event as a sender posts it.
pub(super) fn sent(event: &SyntheticEvent) -> String {
    let mut body = json!({
        "timestamp": jiff::Timestamp::now().to_string(), "hostname": event.hostname, "message": event.message,
    });
    if let Some(oid) = &event.trap_oid {
        body["trap_oid"] = oid.as_str().into();
    }
    if let Some(severity) = event.syslog_severity {
        body["syslog_severity"] = severity.into();
    }
    body.to_string()
}
