//! The command line of `mutt dlq`.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use mutt_queue::dlq::{Counts, Dlq, Dlqs, Filter, Letter, Treatment};
use mutt_queue::envelope::Envelope;
use mutt_queue::{Redis, RedisError};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::text;
use crate::cli::{Output, Tool, print};
use crate::connect;
use crate::settings::{Fault, Faults, Reader, RedisSettings};
use crate::worker::{Fatal, Shutdown};

/// Letters per step without a rate.
const STEP: u64 = 50;
/// Steps per second with one, so that the queues see an even flow.
const STEPS_PER_SECOND: u64 = 10;

/// Dead letters: what could not be processed or delivered, with the reason.
///
/// ingest = refused items of batches, alerter = events that cannot be processed, moog = alerts that could not be
/// delivered, dead = replayed three times in vain.
#[derive(Args)]
pub(crate) struct DlqArgs {
    #[command(subcommand)]
    command: DlqCommand,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Ingest,
    Alerter,
    Moog,
    Dead,
}

impl Name {
    fn dlq(self) -> Dlq {
        match self {
            Self::Ingest => Dlq::Ingest,
            Self::Alerter => Dlq::Alerter,
            Self::Moog => Dlq::Moog,
            Self::Dead => Dlq::Dead,
        }
    }
}

#[derive(Subcommand)]
enum DlqCommand {
    /// List letters, newest first; without a DLQ, how many each holds.
    List {
        /// Which DLQ.
        dlq: Option<Name>,
        #[command(flatten)]
        select: Select,
        /// Letters per page.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
        limit: u64,
        /// Which page, from 1.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        page: u64,
    },
    /// Show one letter whole.
    Show {
        /// Which DLQ.
        dlq: Name,
        /// Its position (the column `#` of `list`), event id or correlation id.
        which: String,
    },
    /// Put letters back into the queue they came from, oldest first. May be stopped and begun anew at any time.
    Replay {
        /// Which DLQ.
        dlq: Name,
        #[command(flatten)]
        select: Select,
        /// At most so many.
        #[arg(long)]
        limit: Option<u64>,
        /// Letters per second; 0 = as fast as possible.
        #[arg(long, default_value_t = 500)]
        rate: u64,
        /// Only say how many there are.
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete letters for good.
    Purge {
        /// Which DLQ.
        dlq: Name,
        #[command(flatten)]
        select: Select,
        /// At most so many, the oldest.
        #[arg(long)]
        limit: Option<u64>,
        /// Only say how many there are.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Which letters are meant; all given conditions must hold.
#[derive(Args)]
struct Select {
    /// Letters that hold this text, case ignored.
    #[arg(long)]
    text: Option<String>,
    /// Letters with this reason.
    #[arg(long)]
    reason: Option<String>,
    /// Letters of this host.
    #[arg(long)]
    host: Option<String>,
    /// The letter with this event id or correlation id.
    #[arg(long)]
    id: Option<String>,
}

impl From<Select> for Filter {
    fn from(select: Select) -> Self {
        Self { text: select.text, reason: select.reason, host: select.host, id: select.id }
    }
}

/// Runs `mutt dlq`.
///
/// # Errors
/// When Redis does not do it, the letter is not there, or a purge is not confirmed.
pub(crate) async fn run(args: DlqArgs, tool: Tool) -> Result<(), Fatal> {
    let mut reader = Reader::new(&tool.vars);
    let redis = RedisSettings::read(&mut reader);
    let redis = reader.finish(redis)?;
    let client = Redis::new(connect::redis(&redis, &tool.secrets));
    let dlqs = Dlqs::new(client, connect::keys(&redis));
    let what = format!("redis on {}:{}", redis.host, redis.port);
    let failed = |error: RedisError| Fatal::failed(what.clone(), error);
    let output = args.output;
    match args.command {
        DlqCommand::List { dlq: None, .. } => {
            let mut depths = Vec::new();
            for dlq in Dlq::ALL {
                depths.push((dlq, dlqs.depth(dlq).await.map_err(failed)?));
            }
            let named: serde_json::Map<String, Value> =
                depths.iter().map(|(dlq, depth)| (dlq.name().to_owned(), (*depth).into())).collect();
            print(output, &named, |_| text::depths(&depths))
        }
        DlqCommand::List { dlq: Some(name), select, limit, page } => {
            let skip = (page - 1).saturating_mul(limit);
            let letters = dlqs.list(name.dlq(), &select.into(), skip, limit).await.map_err(failed)?;
            print(output, &letters, |letters| text::letters(letters))
        }
        DlqCommand::Show { dlq, which } => {
            let letter = find(&dlqs, dlq.dlq(), &which).await.map_err(failed)?;
            show(output, &letter.ok_or_else(|| Fatal::Findings(format!("dlq {} has no {which}", dlq.dlq().name())))?);
            Ok(())
        }
        DlqCommand::Replay { dlq, select, limit, rate, dry_run } => {
            let treatment = if dry_run { Treatment::Look } else { Treatment::Replay };
            let job = Job { dlqs: &dlqs, dlq: dlq.dlq(), treatment, limit, rate, shutdown: &tool.shutdown };
            job.report(output, select.into()).await.map_err(failed)?
        }
        DlqCommand::Purge { dlq, select, limit, dry_run, yes } => {
            let treatment = if dry_run { Treatment::Look } else { Treatment::Purge };
            let job = Job { dlqs: &dlqs, dlq: dlq.dlq(), treatment, limit, rate: 0, shutdown: &tool.shutdown };
            let filter = Filter::from(select);
            if !dry_run && !yes {
                let look = Job { treatment: Treatment::Look, ..job };
                let counts = look.walk(filter.clone()).await.map_err(failed)?;
                confirm(dlq.dlq(), counts.matched)?;
            }
            job.report(output, filter).await.map_err(failed)?
        }
    }
}

/// A letter by position or by id.
async fn find(dlqs: &Dlqs, dlq: Dlq, which: &str) -> Result<Option<Letter>, RedisError> {
    let (filter, skip) = match which.parse::<u64>() {
        Ok(position) => (Filter::default(), position),
        Err(_) => (Filter { id: Some(which.to_owned()), ..Filter::default() }, 0),
    };
    Ok(dlqs.list(dlq, &filter, skip, 1).await?.pop())
}

fn show(output: Output, letter: &Letter) {
    let lossy = String::from_utf8_lossy(&letter.raw).into_owned();
    if output == Output::Json {
        // As it lies in Redis, so that a program sees what a replay would send.
        println!("{lossy}");
        return;
    }
    let body = Envelope::parse(&letter.raw).map_or(lossy.clone(), |envelope| {
        let value: Result<Value, _> = serde_json::from_str(envelope.body());
        value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| envelope.body().to_owned())
    });
    println!("{}", text::letter(letter, &body));
}

/// One walk through a DLQ.
#[derive(Clone, Copy)]
struct Job<'a> {
    dlqs: &'a Dlqs,
    dlq: Dlq,
    treatment: Treatment,
    limit: Option<u64>,
    rate: u64,
    shutdown: &'a Shutdown,
}

impl Job<'_> {
    async fn report(self, output: Output, filter: Filter) -> Result<Result<(), Fatal>, RedisError> {
        let dry_run = self.treatment == Treatment::Look;
        let counts = self.walk(filter).await?;
        let document = json!({"dlq": self.dlq, "dry_run": dry_run, "counts": counts});
        let printed = print(output, &document, |_| text::counts(self.dlq, &counts, dry_run));
        let interrupted = || Fatal::Findings("interrupted; run it again to go on".to_owned());
        Ok(printed.and_then(|()| if self.shutdown.is_requested() { Err(interrupted()) } else { Ok(()) }))
    }

    async fn walk(self, filter: Filter) -> Result<Counts, RedisError> {
        let mut walk = self.dlqs.walk(self.dlq, filter, self.treatment, self.limit).await?;
        let bar = progress(walk.left());
        let step = if self.rate == 0 { STEP } else { self.rate.div_ceil(STEPS_PER_SECOND).min(STEP) };
        let started = Instant::now();
        let mut sum = Counts::default();
        while !self.shutdown.is_requested() {
            let now = format!("{:.6}", jiff::Timestamp::now());
            let Some(counts) = self.dlqs.step(&mut walk, step, &now).await? else { break };
            sum.add(counts);
            bar.inc(counts.seen);
            if self.rate > 0 && self.treatment == Treatment::Replay {
                let due = started + Duration::from_secs_f64((sum.replayed + sum.dead) as f64 / self.rate as f64);
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.shutdown.requested() => {}
                }
            }
        }
        bar.finish_and_clear();
        Ok(sum)
    }
}

/// A bar on standard error; invisible where that is no terminal.
fn progress(letters: u64) -> ProgressBar {
    let bar = ProgressBar::new(letters);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} letters, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn confirm(dlq: Dlq, letters: u64) -> Result<(), Fatal> {
    let refused = |what: &str| Err(Fatal::Settings(Faults(vec![Fault::new("--yes", what.to_owned())])));
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return refused("required to purge without a terminal");
    }
    eprint!("Delete {letters} letters of dlq {} for good? Type yes: ", dlq.name());
    drop(std::io::stderr().flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && answer.trim() == "yes" { Ok(()) } else { refused("not confirmed; nothing was deleted") }
}
