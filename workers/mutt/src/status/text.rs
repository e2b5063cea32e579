//! A report as a screen for people. Pure.

use std::fmt::Write as _;

use super::problems::balance;
use super::report::{Queue, Report};
use crate::slo::Slo;

/// Digits of a revision that people compare.
const REVISION_DIGITS: usize = 12;

/// The whole screen.
pub(super) fn screen(report: &Report) -> String {
    let mut text = String::new();
    let verdict = match report.problems.len() {
        // As a pipeline that is scaled to zero should be.
        0 if report.workers.alerters + report.workers.forwarders == 0 => {
            "nothing waits, and no worker is alive".to_owned()
        }
        0 => "all is well".to_owned(),
        1 => "1 thing needs a person".to_owned(),
        more => format!("{more} things need a person"),
    };
    line(&mut text, format_args!("{}  {}: {verdict}", report.timestamp, report.source));
    for problem in &report.problems {
        line(&mut text, format_args!("  ! {}", printable(problem)));
    }
    text.push('\n');
    queues(&mut text, report);
    text.push('\n');
    webhook(&mut text, report);
    rules(&mut text, report);
    text.push('\n');
    slos(&mut text, &report.slos);
    text
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = writeln!(text, "{what}");
}

fn queues(text: &mut String, report: &Report) {
    line(
        text,
        format_args!(
            "{:<8}{:>11}{:>12}{:>14}{:>10}{:>10}  drained in",
            "queue", "waiting", "processing", "oldest", "in/s", "out/s"
        ),
    );
    for queue in &report.queues {
        line(
            text,
            format_args!(
                "{:<8}{:>11}{:>12}{:>14}{:>10}{:>10}  {}",
                queue.queue,
                count(queue.waiting),
                count(queue.processing),
                queue.oldest_waiting_seconds.map_or_else(|| "-".to_owned(), span),
                rate(queue.in_per_second),
                rate(queue.out_per_second),
                drained_in(queue),
            ),
        );
    }
    let dead: Vec<String> = report.dead_letters.iter().map(|(queue, n)| format!("{queue} {}", count(*n))).collect();
    line(
        text,
        format_args!(
            "dead letters: {}; balance {}",
            dead.join(", "),
            balance(report).map_or_else(|| "even".to_owned(), |gap| format!("off by {gap}")),
        ),
    );
}

fn webhook(text: &mut String, report: &Report) {
    let webhook = &report.webhook;
    let breaker = match webhook.open_seconds {
        None => "breaker closed".to_owned(),
        Some(seconds) => format!("breaker {} since {}", webhook.breaker.replace('_', "-"), span(seconds)),
    };
    let limit = match &webhook.rate_limit {
        None => "rate limit unknown (no forwarder says)".to_owned(),
        Some(rate) if rate.limit == 0 => "no rate limit".to_owned(),
        Some(rate) => format!(
            "rate limit {} of {} in {} ({:.0} %)",
            rate.granted,
            rate.limit,
            span(rate.period_seconds),
            rate.used * 100.0
        ),
    };
    let pause = match webhook.next_probe_seconds {
        None => "not paused".to_owned(),
        Some(seconds) => format!("paused, next probe in {}", span(seconds)),
    };
    line(
        text,
        format_args!(
            "webhook: {breaker}, {limit}, {pause}; {} retries wait, {} refused",
            count(report.retries_waiting),
            count(report.refused)
        ),
    );
    let (alerters, forwarders) = (report.workers.alerters as i64, report.workers.forwarders as i64);
    line(text, format_args!("workers: {}, {}", several(alerters, "alerter"), several(forwarders, "forwarder")));
}

fn rules(text: &mut String, report: &Report) {
    let rules = &report.rules;
    let Some(revision) = &rules.revision else { return line(text, format_args!("rules:   none published")) };
    let current = rules.alerters.iter().filter(|one| one.revision.as_ref() == Some(revision)).count();
    line(
        text,
        format_args!(
            "rules:   revision {} in use by {current} of {}",
            short(revision),
            several(rules.alerters.len() as i64, "alerter")
        ),
    );
    for alerter in &rules.alerters {
        let has = alerter.revision.as_deref().map_or("none yet", short);
        let lags = if alerter.lags { "  LAGS" } else { "" };
        line(
            text,
            format_args!("         {}  {has}  {} rules{lags}", printable(&alerter.worker), count(alerter.rules as i64)),
        );
    }
}

fn slos(text: &mut String, slos: &[Slo]) {
    // One reason for all is told once.
    if let Some(first) = slos.first()
        && slos.iter().all(|slo| slo.actual_value.is_none() && slo.message == first.message)
    {
        return line(text, format_args!("objectives: unknown. {}", printable(&first.message)));
    }
    line(
        text,
        format_args!(
            "{:<23}{:>8}{:>10}{:>13}{:>10}  state",
            "objective", "target", "30 days", "budget left", "burning"
        ),
    );
    for slo in slos {
        let percent = |value: Option<f64>, places: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{:.places$} %", value * 100.0))
        };
        let state = if slo.actual_value.is_none() { slo.message.as_str() } else { slo.status.word() };
        line(
            text,
            format_args!(
                "{:<23}{:>8}{:>10}{:>13}{:>10}  {}",
                slo.slo_name,
                format!("{:.1} %", slo.target * 100.0),
                percent(slo.actual_value, 3),
                percent(slo.error_budget_remaining, 0),
                slo.burn_rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1} x")),
                printable(state),
            ),
        );
    }
}

/// `1 event`, `2 events`.
pub(super) fn several(number: i64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

fn short(revision: &str) -> &str {
    revision.get(..REVISION_DIGITS).unwrap_or(revision)
}

/// Time until a queue is empty.
pub(super) fn drained_in(queue: &Queue) -> String {
    match queue.seconds_to_drain {
        Some(0.0) => "empty".to_owned(),
        Some(seconds) => span(seconds),
        None => "never".to_owned(),
    }
}

fn rate(per_second: f64) -> String {
    if per_second < 100.0 { format!("{per_second:.1}") } else { count(per_second.round() as i64) }
}

/// With commas between thousands.
pub(super) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in its two largest units.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// What others wrote must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
