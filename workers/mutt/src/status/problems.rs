//! What of a report needs a person, each with what to do. Pure.

use super::report::{Queue, Report, Webhook};
use super::text::{several, span};
use crate::slo::{Slo, State};

/// The alerts' own bound: what waits longer misses the objective of delivery.
const AGE_MAX_S: f64 = 60.0;
/// From this part of the rate on, the limit is what holds alerts up.
const RATE_FULL: f64 = 0.9;

/// One line for each.
pub(super) fn of(report: &Report) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(gap) = balance(report) {
        problems.push(format!("the balance is off by {gap} (negative: more than were accepted); did Redis lose data?"));
    }
    let [ingest, alert] = &report.queues;
    for (queue, workers, role) in
        [(ingest, report.workers.alerters, "alerter"), (alert, report.workers.forwarders, "forwarder")]
    {
        if workers == 0 && queue.waiting + queue.processing > 0 {
            problems.push(format!("no {role} is alive and the {} queue holds {}", queue.queue, held(queue)));
        } else if let Some(age) = queue.oldest_waiting_seconds.filter(|age| *age > AGE_MAX_S) {
            problems.push(late(queue, age, &report.webhook));
        }
    }
    webhook(&report.webhook, report.refused, &mut problems);
    rules(report, &mut problems);
    for (queue, letters) in report.dead_letters.iter().filter(|(_, letters)| **letters > 0) {
        let letters = several(*letters, "letter");
        problems.push(format!("dead letter queue {queue} holds {letters}: `mutt dlq list {queue}` says why"));
    }
    // One that was missed weeks ago, and is met since, needs nobody.
    let burning = |slo: &&Slo| match slo.status {
        State::AtRisk => true,
        State::Breached => slo.burn_rate.is_some_and(|rate| rate > 1.0),
        State::Ok | State::Unknown => false,
    };
    for slo in report.slos.iter().filter(burning) {
        problems.push(format!(
            "objective {} is {}: {}",
            slo.slo_name,
            slo.status.word().replace('_', " "),
            slo.message
        ));
    }
    problems
}

/// What is missing, if anything is.
pub(super) fn balance(report: &Report) -> Option<String> {
    let gaps = [(report.gap_events, "event"), (report.gap_alerts, "alert")];
    let gaps: Vec<String> = gaps.iter().filter(|(gap, _)| *gap != 0).map(|(gap, what)| several(*gap, what)).collect();
    (!gaps.is_empty()).then(|| gaps.join(" and "))
}

fn held(queue: &Queue) -> String {
    several(queue.waiting + queue.processing, if queue.queue == "ingest" { "event" } else { "alert" })
}

fn late(queue: &Queue, age: f64, webhook: &Webhook) -> String {
    let limited = queue.queue == "alert"
        && webhook.rate_limit.as_ref().is_some_and(|rate| rate.limit > 0 && rate.used >= RATE_FULL);
    let why = match queue.seconds_to_drain {
        _ if limited => "the webhook's rate limit is used up".to_owned(),
        None => {
            format!("it never drains at {:.0} in and {:.0} out a second", queue.in_per_second, queue.out_per_second)
        }
        Some(seconds) => format!("drained in {} at this pace", span(seconds)),
    };
    format!("the {} queue's oldest of {} waits for {}; {why}", queue.queue, held(queue), span(age))
}

fn webhook(webhook: &Webhook, refused: i64, problems: &mut Vec<String>) {
    if let Some(seconds) = webhook.open_seconds {
        problems.push(format!(
            "the circuit breaker is {} since {} ({} in a row): the webhook does not take alerts; they wait",
            webhook.breaker.replace('_', "-"),
            span(seconds),
            several(webhook.failures as i64, "failure")
        ));
    }
    if webhook.paused {
        problems.push(format!(
            "the webhook refuses the key or the URL (401, 403, 404): check MOOG_API_KEY and MOOG_WEBHOOK_URL; {} \
             kept, nothing is dropped",
            several(refused, "alert")
        ));
    }
}

fn rules(report: &Report, problems: &mut Vec<String>) {
    let rules = &report.rules;
    if rules.revision.is_none() && !rules.alerters.is_empty() {
        problems.push("no rules are published: the alerters take nothing before they have some".to_owned());
    }
    let lagging: Vec<&str> = rules.alerters.iter().filter(|one| one.lags).map(|one| one.worker.as_str()).collect();
    if !lagging.is_empty() {
        problems.push(format!("without the current rules: {}; their logs say why", lagging.join(", ")));
    }
    let mut told = std::collections::BTreeSet::new();
    for error in rules.alerters.iter().flat_map(|one| &one.errors) {
        if told.insert((&error.rule, &error.reason)) {
            let instead = if error.last_good_in_use { "its last good form is in use" } else { "it is left out" };
            problems.push(format!("rule {}: {}; {instead}", error.rule, error.reason));
        }
    }
}
