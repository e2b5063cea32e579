//! The figures.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    process::{LIMIT, Process},
    report::{Report, Row},
    rules::name,
    stage::Stage,
};

/// Changes of which percentiles are taken.
const CHANGES: usize = 50;
/// Starts of which the median is taken.
const STARTS: usize = 5;
/// How long nothing must have been written before the steady state counts as reached.
const QUIET: Duration = Duration::from_secs(10);
/// How long the steady state is looked at.
const STEADY: Duration = Duration::from_secs(120);

/// 1,000 rules applied at once.
pub(crate) async fn all_at_once(stage: &mut Stage, report: &mut Report) {
    let before = stage.operator().writes().await;
    let begun = Instant::now();
    let applied = stage.rules.apply_all(0..1_000, 0).await;
    let returned = Instant::now();
    stage.rules.all_active(&applied).await;
    let after = returned.elapsed();
    quiet(stage).await;
    let writes = (stage.operator().writes().await - before) / 1_000.0;
    report.add(Row {
        what: "1,000 AlertRules applied at once → all Active, after the apply has returned".to_owned(),
        measured: format!("{:.1} s", after.as_secs_f64()),
        limit: format!("the apply itself: {:.1} s", (returned - begun).as_secs_f64()),
        goal: "≤ 5 s",
        met: after <= Duration::from_secs(5),
    });
    report.add(Row {
        what: "the same, API writes per rule".to_owned(),
        measured: format!("{writes:.2}"),
        limit: stage.operator().writes_by_resource().await.replace('|', " "),
        goal: "≤ 2",
        met: writes <= 2.0,
    });
}

/// One rule after the other changed, `total` rules there.
pub(crate) async fn changes(stage: &Stage, report: &mut Report, total: usize) {
    let mut whole = Vec::new();
    let mut requests = Vec::new();
    for change in 0..CHANGES {
        let number = change * total / CHANGES;
        let begun = Instant::now();
        let generation = stage.rules.apply(number, change + 1).await;
        requests.push(begun.elapsed());
        stage.rules.all_active(&HashMap::from([(name(number), generation)])).await;
        whole.push(begun.elapsed());
    }
    let (p50, p99) = (percentile(&mut whole, 50), percentile(&mut whole, 99));
    let limit = format!("the apply itself: p50 {} ms; {CHANGES} changes", percentile(&mut requests, 50).as_millis());
    let memory = stage.operator().memory_mib();
    eprintln!("{total} rules: operator {} MiB, peak {} MiB", memory.0, memory.1);
    if total <= 1_000 {
        report.add(Row {
            what: "kubectl apply of a changed rule → active on both alerters, 1,000 rules, p50".to_owned(),
            measured: format!("{} ms", p50.as_millis()),
            limit,
            goal: "< 300 ms",
            met: p50 < Duration::from_millis(300),
        });
        report.add(Row {
            what: "the same, p99".to_owned(),
            measured: format!("{} ms", p99.as_millis()),
            limit: String::new(),
            goal: "< 1 s",
            met: p99 < Duration::from_secs(1),
        });
    } else {
        report.add(Row {
            what: "the same with 10,000 rules, p99".to_owned(),
            measured: format!("{} ms", p99.as_millis()),
            limit: format!("p50 {} ms; {limit}; operator {} MiB", p50.as_millis(), memory.0),
            goal: "< 2 s",
            met: p99 < Duration::from_secs(2),
        });
    }
}

/// From the start of the process to the first reconcile done, with 1,000 rules.
pub(crate) async fn start(stage: &mut Stage, report: &mut Report) {
    let mut taken = Vec::new();
    for _ in 0..STARTS {
        stage.operator.take().unwrap().stop().await;
        let begun = Instant::now();
        let mut operator = Process::operator(stage.kubeconfig());
        operator.wait("the first reconcile", async |it| it.is_ready().await && has_reconciled(it).await).await;
        taken.push(begun.elapsed());
        stage.operator = Some(operator);
    }
    let median = percentile(&mut taken, 50);
    report.add(Row {
        what: "operator start → first reconcile done, 1,000 rules, Lease free".to_owned(),
        measured: format!("{:.2} s", median.as_secs_f64()),
        limit: format!("slowest of {STARTS}: {:.2} s", percentile(&mut taken, 100).as_secs_f64()),
        goal: "< 3 s",
        met: median < Duration::from_secs(3),
    });
}

async fn has_reconciled(operator: &Process) -> bool {
    for controller in ["pipeline", "rules"] {
        let label = format!(r#"controller="{controller}""#);
        let done = |line: &str| line.contains(&label) && !line.contains(r#"outcome="error""#);
        if operator.metric("mutt_operator_reconciles_total", done).await < 1.0 {
            return false;
        }
    }
    true
}

/// 1,000 rules and ten pipelines, each of nine with a tenth of the rules.
pub(crate) async fn steady(stage: &mut Stage, report: &mut Report) {
    for number in 1..10 {
        let (name, prefix) = (format!("p{number}"), format!("bench-{number}"));
        stage.add_pipeline(&name, &prefix, &json!({"tenth": number.to_string()})).await;
    }
    quiet(stage).await;
    let operator = stage.operator();
    let (writes, cpu, begun) = (operator.writes().await, operator.cpu(), Instant::now());
    let by_resource = operator.writes_by_resource().await;
    tokio::time::sleep(STEADY).await;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let written = (operator.writes().await - writes) / minutes;
    if written > 0.0 {
        eprintln!("writes before: {by_resource}\nafter: {}", operator.writes_by_resource().await);
    }
    let core = operator.cpu().saturating_sub(cpu).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    let (now, peak) = operator.memory_mib();
    let what = "steady state, 1,000 rules, 10 pipelines";
    report.add(Row {
        what: format!("{what}: writes per minute besides the Lease"),
        measured: format!("{written:.1}"),
        limit: format!("{} s looked at", STEADY.as_secs()),
        goal: "0",
        met: written == 0.0,
    });
    report.add(Row {
        what: format!("{what}: resident memory"),
        measured: format!("{now} MiB"),
        limit: format!("peak since its start: {peak} MiB"),
        goal: "≤ 64 MiB",
        met: now <= 64,
    });
    report.add(Row {
        what: format!("{what}: CPU"),
        measured: format!("{core:.2} % of a core"),
        limit: String::new(),
        goal: "≤ 1 %",
        met: core <= 1.0,
    });
    // They have no alerters, so that no rule of theirs is active everywhere.
    for number in 1..10 {
        stage.remove_pipeline(&format!("p{number}")).await;
    }
    quiet(stage).await;
}

/// Up to `total` rules.
pub(crate) async fn grow(stage: &mut Stage, total: usize) {
    let begun = Instant::now();
    let applied = stage.rules.apply_all(1_000..total, 0).await;
    let returned = begun.elapsed();
    stage.rules.all_active(&applied).await;
    eprintln!(
        "{total} rules: applied in {returned:.1?}, all active {:.1?} later",
        begun.elapsed().saturating_sub(returned)
    );
    quiet(stage).await;
}

/// Reports for the node that is not there, until the operator has written nothing for a while.
async fn quiet(stage: &Stage) {
    let until = Instant::now() + LIMIT;
    let (mut last, mut since) = (stage.operator().writes().await, Instant::now());
    while since.elapsed() < QUIET {
        let reported = stage.report_for_the_node().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let writes = stage.operator().writes().await;
        if writes > last || reported > 0 {
            (last, since) = (writes, Instant::now());
        }
        if Instant::now() > until {
            eprintln!("the operator still writes after {LIMIT:?}: {}", stage.operator().writes_by_resource().await);
            return;
        }
    }
}

/// The nearest rank.
fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times[rank - 1]
}
