//! What a finish pushes: alerts, meta-alerts and dead letters as JSON, made from the batch's elements.

use std::borrow::Cow;

use mutt_queue::envelope::{self, Kind, Object, REPLAYS_MAX};
use mutt_queue::{BatchId, Json, MetaWanted, UnhandledLimits};
use mutt_rules::AlertSeverity;
use uuid::Uuid;

use super::decide::event_id;
use super::event::QueuedEvent;
use crate::audit::{Outbox, Template};

/// Characters of the sample in a meta-alert.
const SAMPLE_CHARACTERS: usize = 200;
/// `hostname` and `rule` of meta-alerts.
const META_HOST: &str = "MUTT_Alerter";
const META_RULE: &str = "unhandled";

/// The outbox as the queue's finish script takes it. `alerts` are those of this worker's own decisions, in order; of an
/// outbox that another owner stored they are made again from the elements.
pub(crate) fn queue_outbox<E: AsRef<[u8]>>(
    batch: BatchId,
    elements: &[E],
    outbox: &Outbox,
    alerts: Option<Vec<Json>>,
) -> mutt_queue::Outbox {
    let (last_letters, dead_letters) = dead_letters(elements, outbox);
    let unhandled = outbox.groups.iter().map(|group| mutt_queue::UnhandledGroup {
        host: group.host.clone(),
        signature: group.signature.clone(),
        events: group.elements.clone(),
    });
    mutt_queue::Outbox {
        events: elements.len() as u64,
        alerts: alerts.unwrap_or_else(|| alerts_again(batch, elements, outbox)),
        unhandled: unhandled.collect(),
        dead_letters,
        last_letters,
    }
}

fn alerts_again<E: AsRef<[u8]>>(batch: BatchId, elements: &[E], outbox: &Outbox) -> Vec<Json> {
    let mut alerts = Vec::with_capacity(outbox.alerts.len());
    for (index, template) in &outbox.alerts {
        let index = *index as usize;
        let (Some(element), Some(template)) = (elements.get(index), outbox.templates.get(*template as usize)) else {
            continue;
        };
        match QueuedEvent::parse(element.as_ref()) {
            Ok((event, text)) => {
                let mut alert = Vec::with_capacity(text.len() + 300);
                write_alert(&mut alert, &event, text, event_id(&event, batch, index), template);
                alerts.push(alert.into());
            }
            // It did when it was audited.
            Err(rejected) => tracing::error!(%batch, index, ?rejected, "an audited event does not parse"),
        }
    }
    alerts
}

/// Appends an alert (CONTRACT section 2). The event's text goes in as it is.
pub(crate) fn write_alert(out: &mut Vec<u8>, event: &QueuedEvent<'_>, text: &str, id: Uuid, template: &Template) {
    let mut buffer = Uuid::encode_buffer();
    let id: &str = id.as_hyphenated().encode_lower(&mut buffer);
    out.extend_from_slice(b"{\"hostname\":");
    string(out, &event.hostname);
    out.extend_from_slice(b",\"team_assignment\":");
    quoted(out, &template.team);
    out.extend_from_slice(b",\"severity\":");
    quoted(out, &template.severity);
    out.extend_from_slice(b",\"message_body\":");
    string(out, &event.message);
    out.extend_from_slice(b",\"raw_json\":");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b",\"rule\":");
    quoted(out, &template.rule);
    out.extend_from_slice(b",\"_event_id\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"_correlation_id\":");
    match &event.correlation_id {
        Some(own) => string(out, own),
        None => quoted(out, id),
    }
    out.push(b'}');
}

/// A string that came out of JSON. One that is borrowed had no escapes, so it needs none now.
#[allow(clippy::ptr_arg, reason = "whether it is borrowed is the point")]
fn string(out: &mut Vec<u8>, text: &Cow<'_, str>) {
    match text {
        Cow::Borrowed(text) => {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
        Cow::Owned(text) => quoted(out, text),
    }
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// The alert about too many unhandled messages of one kind from one host.
pub(crate) fn meta_alert<E: AsRef<[u8]>>(
    batch: BatchId,
    elements: &[E],
    wanted: MetaWanted,
    group: &mutt_queue::UnhandledGroup,
    limits: UnhandledLimits,
    team: &str,
) -> Json {
    let parsed = elements.get(wanted.event).and_then(|element| QueuedEvent::parse(element.as_ref()).ok());
    let (sample, text) = match &parsed {
        Some((event, text)) => (event.message.chars().take(SAMPLE_CHARACTERS).collect(), *text),
        None => (String::new(), "{}"),
    };
    let message = format!(
        "[MUTT] Detected {} unhandled messages in {}s from '{}'. Sample message: {sample}",
        limits.threshold, limits.expiry_s, group.host
    );
    // The same for every owner of the batch, so that a repeat is recognised.
    let id = Uuid::new_v5(&batch.uuid(), format!("meta {} {}", group.host, group.signature).as_bytes());
    let alert = QueuedEvent {
        hostname: Cow::Owned(META_HOST.to_owned()),
        message: Cow::Owned(message),
        ..QueuedEvent::default()
    };
    let severity = AlertSeverity::Warning.as_str().to_owned();
    let template = Template { rule: META_RULE.to_owned(), team: team.to_owned(), severity };
    let mut out = Vec::with_capacity(text.len() + 600);
    write_alert(&mut out, &alert, text, id, &template);
    out.into()
}

/// Dead letters of a batch: those that were replayed in vain as often as is sensible, and the others.
fn dead_letters<E: AsRef<[u8]>>(elements: &[E], outbox: &Outbox) -> (Vec<Json>, Vec<Json>) {
    if outbox.dead.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let now = format!("{:.6}", jiff::Timestamp::now());
    let (mut last, mut others) = (Vec::new(), Vec::new());
    for entry in &outbox.dead {
        let Some(element) = elements.get(entry.element as usize) else { continue };
        let text = std::str::from_utf8(element.as_ref()).ok();
        let replayed = text.and_then(Object::parse).is_some_and(|object| object.replays() >= REPLAYS_MAX);
        let attempts = u64::from(entry.attempts);
        let letter = envelope::build(Kind::Event, element.as_ref(), &entry.reason, &entry.detail, attempts, &now);
        if replayed { &mut last } else { &mut others }.push(letter.into());
    }
    (last, others)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::audit::DeadEntry;

    #[test]
    fn an_event_replayed_three_times_in_vain_goes_to_the_last_queue() {
        let elements = [r#"{"a":1,"_replays":2}"#, r#"{"a":2,"_replays":3}"#, "no JSON"];
        let entry = |element| DeadEntry { element, reason: "missing_field".into(), detail: String::new(), attempts: 1 };
        let outbox = Outbox { dead: (0..3).map(entry).collect(), ..Outbox::default() };
        let made = queue_outbox(BatchId::new(), &elements, &outbox, None);
        assert_eq!((made.events, made.dead_letters.len(), made.last_letters.len()), (3, 2, 1));
        assert!(std::str::from_utf8(&made.last_letters[0]).unwrap().contains(r#""a":2"#));
    }
}
