//! The table, as `mutt bench` prints it.

use std::fmt::Write;

use mutt_operator::runtime::telemetry::VERSION;

/// One figure beside its goal and its limit.
pub(crate) struct Row {
    /// What was measured, with units.
    pub(crate) what: String,
    /// The figure.
    pub(crate) measured: String,
    /// What bounds it in the same run, or what else was seen.
    pub(crate) limit: String,
    /// What was aimed at.
    pub(crate) goal: &'static str,
    /// Whether it was reached.
    pub(crate) met: bool,
}

/// All rows of a run and where they were taken.
pub(crate) struct Report {
    machine: String,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, model)| model.trim()));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let machine = format!("MUTT {VERSION}, {date}, {cores} cores of {}", model.unwrap_or("an unknown processor"));
        eprintln!("{machine}");
        Self { machine, rows: Vec::new() }
    }

    /// Adds a row; it is shown at once, since a run takes minutes.
    pub(crate) fn add(&mut self, row: Row) {
        let mark = if row.met { "met" } else { "MISSED" };
        eprintln!("{:<70} {:>22}  {mark} ({}) {}", row.what, row.measured, row.goal, row.limit);
        self.rows.push(row);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "{}\n\n| what | measured | beside it in the same run | goal | |\n|---|---|---|---|---|\n",
            self.machine
        );
        for Row { what, measured, limit, goal, met } in &self.rows {
            let mark = if *met { "met" } else { "**missed**" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {what} | {measured} | {limit} | {goal} | {mark} |");
        }
        text
    }
}
