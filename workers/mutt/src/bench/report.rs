//! The table.

use std::fmt::Write;

use clap::ValueEnum;
use serde_json::json;

use super::{Plan, process::Memory};
use crate::telemetry::VERSION;

/// How the table is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Text,
    Markdown,
    Json,
}

/// One figure beside its goal and its limit.
pub(super) struct Row {
    /// What was measured, with units.
    pub(super) what: String,
    /// The figure.
    pub(super) measured: String,
    /// The limit in the same run, empty where there is none.
    pub(super) limit: String,
    /// What was aimed at; empty for a figure that is only told.
    pub(super) goal: String,
    /// Whether it was reached.
    pub(super) met: bool,
}

/// All rows of a run and where they were taken.
pub(super) struct Report {
    machine: String,
    rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(plan: Plan) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, m)| m.trim()));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let machine = format!(
            "MUTT {VERSION}, {date}, {cores} cores of {}, median of {} runs of {} s",
            model.unwrap_or("an unknown processor"),
            plan.repeat,
            plan.seconds.as_secs_f64(),
        );
        eprintln!("{machine}");
        Self { machine, rows: Vec::new() }
    }

    /// Adds a row; it is shown at once, since a run takes minutes.
    pub(super) fn add(&mut self, row: Row) {
        let verdict = match (row.goal.as_str(), row.met) {
            ("", _) => String::new(),
            (goal, true) => format!("met ({goal})"),
            (goal, false) => format!("MISSED ({goal})"),
        };
        eprintln!("{:<58} {:>34}  {verdict} {}", row.what, row.measured, row.limit);
        self.rows.push(row);
    }

    pub(super) fn print(&self, output: Output) {
        match output {
            Output::Text => {}
            Output::Markdown => print!("{}", self.markdown()),
            Output::Json => {
                let rows = self.rows.iter().map(|row| {
                    json!({"what": row.what, "measured": row.measured, "limit": row.limit, "goal": row.goal, "met": row.met})
                });
                println!("{}", json!({"machine": self.machine, "rows": rows.collect::<Vec<_>>()}));
            }
        }
    }

    fn markdown(&self) -> String {
        let mut text = format!(
            "{}\n\n| what | measured | limit in the same run | goal | |\n|---|---|---|---|---|\n",
            self.machine
        );
        for row in &self.rows {
            let Row { what, measured, limit, goal, met } = row;
            let mark = match (goal.as_str(), met) {
                ("", _) => "",
                (_, true) => "met",
                (_, false) => "**missed**",
            };
            let _ = writeln!(text, "| {what} | {measured} | {limit} | {goal} | {mark} |");
        }
        text
    }
}

/// Memory of a role beside its goal, which counts under load; the peak of its start is told too.
pub(super) fn memory_row(role: &str, memory: Memory, goal: f64) -> Row {
    Row {
        what: format!("{role}: resident memory under this load (largest VmRSS)"),
        measured: format!("{:.0} MiB", memory.under_load),
        limit: format!("peak since its start: {:.0} MiB", memory.since_start),
        goal: format!("≤ {goal:.0} MiB"),
        met: memory.under_load <= goal,
    }
}

/// A number with thousands separated, as the eye reads it.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_separated() {
        assert_eq!(super::grouped(1_234_567.4), "1,234,567");
        assert_eq!(super::grouped(999.0), "999");
    }
}
