//! `mutt bench`: figures of this machine, each beside its limit measured in the same run.
//!
//! Private servers are started and pinned: the role under test has a core of its own as far as two cores allow. Ratios
//! count, not absolute times: the limit is measured with the same servers, values and cores.

mod alerter;
mod copy;
mod forwarder;
mod ingest;
mod latency;
mod load;
mod matching;
mod process;
mod report;
mod samples;
mod sizing;

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::{cli::Tool, worker::Fatal};
use report::{Report, Row};

/// Measure this machine: each figure beside its limit in the same run. Needs quiet cores, Redis and PostgreSQL.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Seconds of each measurement under load.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often each measurement is repeated; the median counts.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Only these measurements.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Subject>,
    /// How to print the table.
    #[arg(long, value_enum, default_value_t = report::Output::Text)]
    output: report::Output,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    Ingest,
    Matching,
    Alerter,
    Forwarder,
    Latency,
    Sizing,
}

impl Subject {
    const ALL: [Self; 6] = [Self::Ingest, Self::Matching, Self::Alerter, Self::Forwarder, Self::Latency, Self::Sizing];
}

/// Length and number of the measurements.
#[derive(Clone, Copy)]
struct Plan {
    seconds: Duration,
    repeat: usize,
}

impl Plan {
    /// The measurement with the median key of `repeat` runs.
    async fn median<T>(
        self,
        mut run: impl AsyncFnMut() -> Result<T, Fatal>,
        key: impl Fn(&T) -> f64,
    ) -> Result<T, Fatal> {
        let mut results = Vec::with_capacity(self.repeat);
        for _ in 0..self.repeat.max(1) {
            results.push(run().await?);
        }
        results.sort_by(|a, b| key(a).total_cmp(&key(b)));
        let middle = results.len() / 2;
        Ok(results.swap_remove(middle))
    }
}

/// Runs the measurements and prints the table.
pub(crate) async fn run(args: BenchArgs, _tool: Tool) -> Result<(), Fatal> {
    let plan = Plan { seconds: Duration::from_secs_f64(args.seconds), repeat: args.repeat };
    let subjects = if args.only.is_empty() { Subject::ALL.to_vec() } else { args.only };
    let mut report = Report::new(plan);
    for subject in subjects {
        let rows: Vec<Row> = match subject {
            Subject::Ingest => ingest::measure(plan).await?,
            Subject::Matching => matching::measure(plan).await?,
            Subject::Alerter => alerter::measure(plan).await?,
            Subject::Forwarder => forwarder::measure(plan).await?,
            Subject::Latency => latency::measure(plan).await?,
            Subject::Sizing => sizing::measure(plan).await?,
        };
        for row in rows {
            report.add(row);
        }
    }
    report.print(args.output);
    Ok(())
}
