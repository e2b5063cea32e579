//! From two looks to what is shown. Pure, but for the time of day. The fields are the JSON of `mutt status --output json`.

use std::collections::BTreeMap;
use std::time::Duration;

use mutt_queue::moog::BreakerState;
use mutt_queue::served_rules::AckError;
use mutt_queue::{QueueState, Totals, totals};
use serde::Serialize;

use super::look::Look;
use super::problems;
use crate::slo::Slo;

/// Everything that is shown.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) timestamp: String,
    /// Where it was read.
    pub(super) source: String,
    /// What needs a person, and what to do; empty = all is well.
    pub(super) problems: Vec<String>,
    /// `ingest` and `alert`.
    pub(super) queues: [Queue; 2],
    /// Alerts that wait for another attempt.
    pub(super) retries_waiting: i64,
    /// Alerts refused with 401, 403 or 404, kept while the forwarders pause.
    pub(super) refused: i64,
    pub(super) dead_letters: BTreeMap<&'static str, i64>,
    /// Events and alerts that are missing (positive) or that nobody accepted (negative).
    pub(super) gap_events: i64,
    pub(super) gap_alerts: i64,
    pub(super) webhook: Webhook,
    pub(super) rules: Rules,
    pub(super) workers: Workers,
    pub(super) slos: Vec<Slo>,
}

#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names of the JSON, the metrics' labels")]
pub(super) struct Queue {
    pub(super) queue: &'static str,
    pub(super) waiting: i64,
    pub(super) processing: i64,
    pub(super) oldest_waiting_seconds: Option<f64>,
    pub(super) oldest_processing_seconds: Option<f64>,
    pub(super) in_per_second: f64,
    pub(super) out_per_second: f64,
    /// 0 when it is empty; none when it never empties at these rates.
    pub(super) seconds_to_drain: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Webhook {
    /// `closed`, `half_open` or `open`.
    pub(super) breaker: &'static str,
    /// In a row.
    pub(super) failures: u64,
    /// Since it opened, unless it is closed.
    pub(super) open_seconds: Option<f64>,
    /// Whether key or URL are refused.
    pub(super) paused: bool,
    pub(super) next_probe_seconds: Option<f64>,
    /// None if no forwarder says.
    pub(super) rate_limit: Option<RateUse>,
}

#[derive(Debug, Serialize)]
pub(super) struct RateUse {
    /// Alerts per period; 0 = no limit.
    pub(super) limit: u64,
    pub(super) period_seconds: f64,
    /// Granted within the last period.
    pub(super) granted: u64,
    /// Part of the limit; 0 without one.
    pub(super) used: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Rules {
    /// What alerters should have.
    pub(super) revision: Option<String>,
    pub(super) alerters: Vec<Alerter>,
}

#[derive(Debug, Serialize)]
pub(super) struct Alerter {
    pub(super) worker: String,
    /// What it has; none before its first rules.
    pub(super) revision: Option<String>,
    pub(super) rules: usize,
    /// Whether it had another revision than the current one at both looks.
    pub(super) lags: bool,
    pub(super) errors: Vec<AckError>,
}

/// Workers with a heartbeat. Ingestors and Web UIs have none: they answer for themselves, on `/ready`.
#[derive(Debug, Serialize)]
pub(super) struct Workers {
    pub(super) alerters: usize,
    pub(super) forwarders: usize,
}

/// What is shown after two looks.
pub(super) fn report(before: &Look, now: &Look, slos: Vec<Slo>, source: &str) -> Report {
    let mut report = Report {
        timestamp: self::now(),
        source: source.to_owned(),
        problems: Vec::new(),
        queues: queues(&before.totals, &now.totals, now.at.duration_since(before.at)),
        retries_waiting: now.totals.delayed,
        refused: now.totals.refused,
        dead_letters: now.totals.dead_letters().into_iter().collect(),
        // One that is not there at both looks is no gap.
        gap_events: if before.totals.gap_events() == 0 { 0 } else { now.totals.gap_events() },
        gap_alerts: if before.totals.gap_alerts() == 0 { 0 } else { now.totals.gap_alerts() },
        webhook: webhook(now),
        rules: rules(before, now),
        workers: Workers { alerters: now.served.alive.len(), forwarders: now.moog.alive.len() },
        slos,
    };
    report.problems = problems::of(&report);
    report
}

/// The time of day.
pub(super) fn now() -> String {
    format!("{:.0}", jiff::Timestamp::now())
}

fn queues(before: &Totals, now: &Totals, apart: Duration) -> [Queue; 2] {
    let [ingest, in_flight, alert, alerts_in_flight] = now.queues();
    let per_second = |fields: &[&str]| {
        let risen: i64 = fields.iter().map(|field| now.count(field) - before.count(field)).sum();
        // A Redis that was emptied in between begins anew.
        (risen.max(0) as f64 / apart.as_secs_f64().max(0.001) * 10.0).round() / 10.0
    };
    let shrank = |depths: fn(&Totals) -> i64| (depths(before) - depths(now)) as f64 / apart.as_secs_f64().max(0.001);
    [
        queue(
            [ingest, in_flight],
            shrank(|totals| totals.ingest_queue + totals.in_flight),
            per_second(&[totals::ACCEPTED, totals::REPLAYED]),
            per_second(&[totals::FINISHED, totals::DEAD_LETTERED]),
        ),
        queue(
            [alert, alerts_in_flight],
            shrank(|totals| totals.alert_queue + totals.alerts_in_flight),
            per_second(&[totals::ALERTS, totals::ALERTS_REPLAYED]),
            per_second(&[totals::ALERTS_DELIVERED, totals::ALERTS_DEAD_LETTERED]),
        ),
    ]
}

/// Alerts also leave for a retry and come back: when a queue is empty follows from its depth, not from in and out.
fn queue([waiting, processing]: [QueueState; 2], shrinks_by: f64, in_per_second: f64, out_per_second: f64) -> Queue {
    let left = (waiting.depth + processing.depth) as f64;
    Queue {
        queue: waiting.queue,
        waiting: waiting.depth,
        processing: processing.depth,
        oldest_waiting_seconds: waiting.oldest_age.map(|age| age.as_secs_f64()),
        oldest_processing_seconds: processing.oldest_age.map(|age| age.as_secs_f64()),
        in_per_second,
        out_per_second,
        seconds_to_drain: match left {
            0.0 => Some(0.0),
            _ if shrinks_by > 0.0 => Some(left / shrinks_by),
            _ => None,
        },
    }
}

fn webhook(now: &Look) -> Webhook {
    let moog = &now.moog;
    Webhook {
        breaker: match moog.breaker {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half_open",
            BreakerState::Open => "open",
        },
        failures: moog.failures,
        open_seconds: (moog.breaker != BreakerState::Closed).then_some(moog.opened_for.as_secs_f64()),
        paused: moog.paused.is_some(),
        next_probe_seconds: moog.paused.map(|wait| wait.as_secs_f64()),
        rate_limit: moog.rate.map(|rate| RateUse {
            limit: rate.limit,
            period_seconds: rate.period.as_secs_f64(),
            granted: moog.granted,
            used: if rate.limit == 0 { 0.0 } else { moog.granted as f64 / rate.limit as f64 },
        }),
    }
}

fn rules(before: &Look, now: &Look) -> Rules {
    let revision = now.served.revision.clone();
    let lags = |look: &Look, worker: &str| {
        revision
            .as_ref()
            .is_some_and(|revision| look.served.acks.get(worker).is_none_or(|ack| ack.revision != *revision))
    };
    let alerters = now.served.alive.iter().map(|worker| {
        let ack = now.served.acks.get(worker);
        Alerter {
            worker: worker.clone(),
            revision: ack.map(|ack| ack.revision.clone()),
            rules: ack.map_or(0, |ack| ack.rules),
            // A change takes a second or two; who came in between is about to read.
            lags: before.served.alive.contains(worker)
                && before.served.revision == revision
                && lags(before, worker)
                && lags(now, worker),
            errors: ack.map(|ack| ack.errors.clone()).unwrap_or_default(),
        }
    });
    Rules { alerters: alerters.collect(), revision }
}
