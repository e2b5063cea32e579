//! One alert: body, POST, and what becomes of it.

use std::time::Duration;

use mutt_queue::envelope::{self, Kind, REPLAYS_MAX};
use mutt_queue::moog::{Fate, Finish, Judgement, TakenAlert};
use tokio::time::Instant;

use super::client::{Reply, WebhookClient};
use super::metrics::Metrics;
use super::payload::{self, Payload, Unsendable};
use super::verdict::{self, Action, Reason};
use super::{Retries, backoff};

/// URL and key of the moment.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    /// The bearer token.
    pub(crate) key: String,
    /// Stands for both without telling them.
    pub(crate) fingerprint: String,
}

/// Sends an alert and says how its lease ends.
pub(crate) async fn deliver(
    alert: TakenAlert,
    client: &WebhookClient,
    credentials: Credentials,
    retries: &Retries,
    metrics: &Metrics,
) -> Finish {
    let now = jiff::Timestamp::now();
    let Payload { body, external_id, attempts, replays, accepted_at } =
        match payload::build(&alert.text, now.as_second()) {
            Ok(payload) => payload,
            Err(error) => return unsendable(&alert, &error, metrics),
        };
    let started = Instant::now();
    let reply = client.post(body, &credentials.key).await;
    metrics.latency.observe(started.elapsed().as_secs_f64());
    let (action, judgement, reason) = verdict::of(reply.answer);
    let attempts = attempts + 1;
    let exhausted = action == Action::Retry && attempts > retries.attempts_max;
    let reason = if exhausted { Reason::RetryExhausted } else { reason };
    metrics.request(reason);
    if action != Action::Done {
        tracing::warn!(external_id, attempts, reason = reason.label(), answer = reply.detail, "alert not delivered");
    }
    let fate = match action {
        Action::Done => Fate::Delivered,
        Action::Retry if !exhausted => delayed(&alert, attempts, &reply, retries),
        Action::Pause => Fate::Refused {
            entry: envelope::refused_entry(&alert.text, reason.label(), &reply.detail, attempts.into()),
            probe_after: retries.pause_probe,
            fingerprint: credentials.fingerprint,
        },
        Action::Retry | Action::Bury => Fate::DeadLetter {
            envelope: letter(&alert.text, reason.label(), &reply.detail, attempts),
            dead: u64::from(replays) >= REPLAYS_MAX,
        },
    };
    if let (Fate::Delivered, Some(accepted)) = (&fate, accepted_at) {
        metrics.delivered(accepted);
    }
    metrics.alert(match fate {
        Fate::Delivered => "success",
        Fate::DeadLetter { .. } => "dlq",
        _ => "error",
    });
    let busy_for = reply.retry_after.map_or(Duration::from_secs(1), |asked| asked.min(backoff::RETRY_AFTER_MAX));
    Finish { lease: alert.lease, grant: alert.grant, fate, judgement, busy_for }
}

fn delayed(alert: &TakenAlert, attempts: u32, reply: &Reply, retries: &Retries) -> Fate {
    let wait = backoff::delay(retries.base, retries.max, attempts, fastrand::f64(), reply.retry_after);
    match envelope::with_attempts(&alert.text, attempts.into()) {
        Some(text) => Fate::Delayed { text, wait },
        // The payload was built from it, so it is an object; were it none, it must not be retried for ever.
        None => Fate::DeadLetter { envelope: letter(&alert.text, "json", &reply.detail, attempts), dead: false },
    }
}

fn unsendable(alert: &TakenAlert, error: &Unsendable, metrics: &Metrics) -> Finish {
    tracing::warn!(reason = error.reason(), %error, "alert cannot be sent");
    metrics.alert("dlq");
    let object = std::str::from_utf8(&alert.text).ok().and_then(envelope::Object::parse);
    let dead = object.is_some_and(|object| object.replays() >= REPLAYS_MAX);
    let envelope = letter(&alert.text, error.reason(), &error.to_string(), 0);
    Finish {
        lease: alert.lease,
        grant: alert.grant,
        fate: Fate::DeadLetter { envelope, dead },
        judgement: Judgement::Neutral,
        busy_for: Duration::ZERO,
    }
}

fn letter(alert: &[u8], reason: &str, detail: &str, attempts: u32) -> Vec<u8> {
    envelope::build(Kind::Alert, alert, reason, detail, attempts.into(), &timestamp())
}

/// Now, RFC 3339 UTC with microseconds.
pub(crate) fn timestamp() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}
