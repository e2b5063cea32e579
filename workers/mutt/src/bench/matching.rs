//! The matcher alone, in this process.

use std::time::Duration;

use mutt_rules::{Compiled, Scratch, synthetic};
use rustix::time::{ClockId, clock_gettime};

use super::{
    Plan,
    process::{ROLE_CORE, pin},
    report::{Row, grouped},
    samples::SEED,
};
use crate::worker::Fatal;

/// Events of a set that is gone through again and again: more than caches hold, few enough to make quickly.
const EVENTS: usize = 20_000;

pub(super) async fn measure(plan: Plan) -> Result<Vec<Row>, Fatal> {
    let mut rows = Vec::new();
    for (rules, goal) in [(1_000, 300_000.0), (10_000, 60_000.0)] {
        let thread = tokio::task::spawn_blocking(move || median_rate(rules, plan));
        let (rate, share) = thread.await.map_err(|error| Fatal::failed("the matching thread", error))?;
        rows.push(Row {
            what: format!("matching only, {} rules, events/s per core", grouped(f64::from(rules))),
            measured: grouped(rate),
            limit: format!("{:.0} % of the events matched", share * 100.0),
            goal: format!("≥ {}", grouped(goal)),
            met: rate >= goal,
        });
    }
    Ok(rows)
}

/// Events per second of this thread's CPU time, and the share that a rule took.
fn median_rate(rules: u32, plan: Plan) -> (f64, f64) {
    pin(None, ROLE_CORE);
    let rules = rules as usize;
    let compiled = Compiled::build(&synthetic::rules(rules, SEED), None);
    let events = synthetic::events(EVENTS, rules, SEED);
    let mut scratch = Scratch::default();
    let mut round = || {
        let (mut done, mut handled) = (0_u64, 0_u64);
        let start = thread_cpu();
        let used = loop {
            for event in &events {
                handled += u64::from(compiled.decide(&event.as_event(), &mut scratch).is_handled());
            }
            done += events.len() as u64;
            let used = thread_cpu().saturating_sub(start);
            if used >= plan.seconds {
                break used;
            }
        };
        (done as f64 / used.as_secs_f64(), handled as f64 / done as f64)
    };
    round();
    let mut rates: Vec<_> = (0..plan.repeat.max(1)).map(|_| round()).collect();
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    rates[rates.len() / 2]
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
