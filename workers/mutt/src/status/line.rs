//! A report as one line of a log. Pure.

use super::report::Report;
use super::text::drained_in;

/// The line; problems last.
pub(super) fn line(report: &Report) -> String {
    let mut parts = vec![report.timestamp.clone()];
    for queue in &report.queues {
        parts.push(format!(
            "{}: {} waiting, {} processing, oldest {:.1} s, {} in/s, {} out/s, {}",
            queue.queue,
            queue.waiting,
            queue.processing,
            queue.oldest_waiting_seconds.unwrap_or_default(),
            queue.in_per_second,
            queue.out_per_second,
            match queue.seconds_to_drain {
                Some(0.0) => "empty".to_owned(),
                _ => format!("drained in {}", drained_in(queue)),
            },
        ));
    }
    let dead: i64 = report.dead_letters.values().sum();
    parts.push(format!("dead letters: {dead}"));
    parts.push(format!("breaker {}", report.webhook.breaker));
    parts.push(if report.problems.is_empty() { "all is well".to_owned() } else { report.problems.join(" | ") });
    let line = parts.join("; ");
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
