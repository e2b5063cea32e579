//! What a finish pushes: alerts, meta-alerts and dead letters as JSON, made from the batch's elements.

use mutt_queue::{BatchId, Json, MetaWanted, UnhandledLimits};
use mutt_rules::AlertSeverity;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::decide::event_id;
use super::event::{QueuedEvent, dead_letter_value};
use crate::audit::{Outbox, Template};

/// Characters of the sample in a meta-alert.
const SAMPLE_CHARACTERS: usize = 200;
/// `hostname` and `rule` of meta-alerts.
const META_HOST: &str = "MUTT_Alerter";
const META_RULE: &str = "unhandled";

/// An alert in the alert queue (CONTRACT section 2).
#[derive(Serialize)]
struct Alert<'a> {
    hostname: &'a str,
    team_assignment: &'a str,
    severity: &'a str,
    message_body: &'a str,
    raw_json: &'a RawValue,
    rule: &'a str,
    _event_id: String,
    _correlation_id: String,
}

/// The outbox as the queue's finish script takes it. An element that does not parse any more (it did when it was
/// audited) is an error of this program and is left out with a log line.
pub(crate) fn queue_outbox<E: AsRef<[u8]>>(
    batch: BatchId,
    elements: &[E],
    outbox: &Outbox,
) -> Result<mutt_queue::Outbox, serde_json::Error> {
    let mut made = mutt_queue::Outbox { events: elements.len() as u64, ..mutt_queue::Outbox::default() };
    made.alerts.reserve(outbox.alerts.len());
    for (index, template) in &outbox.alerts {
        let index = *index as usize;
        if let (Some(element), Some(template)) = (elements.get(index), outbox.templates.get(*template as usize)) {
            made.alerts.extend(alert(batch, index, element.as_ref(), template)?);
        }
    }
    for group in &outbox.groups {
        made.unhandled.push(mutt_queue::UnhandledGroup {
            host: group.host.clone(),
            signature: group.signature.clone(),
            events: group.elements.clone(),
        });
    }
    let now = now();
    for entry in &outbox.dead {
        if let Some(element) = elements.get(entry.element as usize) {
            made.dead_letters.push(dead_letter(element.as_ref(), &entry.reason, &entry.detail, entry.attempts, &now)?);
        }
    }
    Ok(made)
}

fn alert(batch: BatchId, index: usize, element: &[u8], template: &Template) -> Result<Option<Json>, serde_json::Error> {
    let Ok((event, text)) = QueuedEvent::parse(element) else {
        tracing::error!(%batch, index, "an audited event does not parse");
        return Ok(None);
    };
    let id = event_id(&event, batch, index).to_string();
    let alert = Alert {
        hostname: &event.hostname,
        team_assignment: &template.team,
        severity: &template.severity,
        message_body: &event.message,
        raw_json: serde_json::from_str(text)?,
        rule: &template.rule,
        _correlation_id: event.correlation_id.as_deref().unwrap_or(&id).to_owned(),
        _event_id: id,
    };
    serde_json::value::to_raw_value(&alert).map(Some)
}

/// The alert about too many unhandled messages of one kind from one host.
pub(crate) fn meta_alert<E: AsRef<[u8]>>(
    batch: BatchId,
    elements: &[E],
    wanted: MetaWanted,
    group: &mutt_queue::UnhandledGroup,
    limits: UnhandledLimits,
    team: &str,
) -> Result<Json, serde_json::Error> {
    let element = elements.get(wanted.event).map_or(&b"{}"[..], AsRef::as_ref);
    let sample: String = match QueuedEvent::parse(element) {
        Ok((event, _)) => event.message.chars().take(SAMPLE_CHARACTERS).collect(),
        Err(_) => String::new(),
    };
    // The same for every owner of the batch, so that a repeat is recognised.
    let id = Uuid::new_v5(&batch.uuid(), format!("meta {} {}", group.host, group.signature).as_bytes()).to_string();
    let message = format!(
        "[MUTT] Detected {} unhandled messages in {}s from '{}'. Sample message: {sample}",
        limits.threshold, limits.expiry_s, group.host
    );
    let event = dead_letter_value(element)?;
    serde_json::value::to_raw_value(&Alert {
        hostname: META_HOST,
        team_assignment: team,
        severity: AlertSeverity::Warning.as_str(),
        message_body: &message,
        raw_json: &event,
        rule: META_RULE,
        _event_id: id.clone(),
        _correlation_id: id,
    })
}

fn dead_letter(
    element: &[u8],
    reason: &str,
    detail: &str,
    attempts: u32,
    now: &str,
) -> Result<Json, serde_json::Error> {
    #[derive(Serialize)]
    struct DeadLetter<'a> {
        event: &'a RawValue,
        reason: &'a str,
        detail: &'a str,
        attempts: u32,
        dead_lettered_at: &'a str,
    }
    let event = dead_letter_value(element)?;
    serde_json::value::to_raw_value(&DeadLetter { event: &event, reason, detail, attempts, dead_lettered_at: now })
}

/// RFC 3339, UTC, microseconds.
fn now() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}
