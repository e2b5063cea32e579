//! The command line of `mutt status`.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use mutt_queue::{Keys, Redis};
use tokio::time::{sleep, timeout};

use super::look::Look;
use super::report::{Report, report};
use super::{line, text};
use crate::cli::{Output, Tool};
use crate::connect;
use crate::settings::{Reader, RedisSettings, SloSettings};
use crate::slo::Objectives;
use crate::worker::{Fatal, Shutdown};

/// Rates are what happened between two looks.
const APART: Duration = Duration::from_secs(1);
/// One look is a handful of commands; a Redis that takes longer is as good as away.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);
/// To the top left, without wrapping long lines; at first on an empty screen.
const EMPTY_SCREEN: &str = "\x1b[2J";
const TOP: &str = "\x1b[H\x1b[?7l";
const END_OF_LINE: &str = "\x1b[K\n";
const REST_OF_SCREEN: &str = "\x1b[J\x1b[?7h";

/// How the pipeline is: queues, rates, time to drain, dead letters, balance, breaker, rate limit, rules, workers,
/// objectives.
///
/// Ends with 0 if all is well, with 1 if something needs a person (it says what), with 64 after wrong use, with 69 if
/// Redis does not answer. Needs no more than the settings of Redis, so it works in every pod of a pipeline.
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// Look again and again, every so many seconds, until Ctrl-C; on a terminal in place, else a line each time.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    watch: Option<u64>,
    /// How the result is printed; with --watch, JSON is one document a line.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Everything that is asked.
struct Asked {
    redis: Redis,
    keys: std::sync::Arc<Keys>,
    objectives: Objectives,
    /// Where Redis is, for people.
    place: String,
}

/// Runs `mutt status`.
///
/// # Errors
/// When Redis does not answer, or something needs a person.
pub(crate) async fn run(args: StatusArgs, tool: Tool) -> Result<(), Fatal> {
    let mut reader = Reader::new(&tool.vars);
    let settings = (RedisSettings::read(&mut reader), SloSettings::read_given(&mut reader));
    let (redis, slo) = reader.finish(settings)?;
    let asked = Asked {
        redis: Redis::new(connect::redis(&redis, &tool.secrets)),
        keys: connect::keys(&redis),
        objectives: Objectives::new(&slo)?,
        place: format!("redis on {}:{}", redis.host, redis.port),
    };
    match args.watch {
        None => once(&asked, args.output).await,
        Some(seconds) => watch(&asked, args.output, Duration::from_secs(seconds), &tool.shutdown).await,
    }
}

async fn once(asked: &Asked, output: Output) -> Result<(), Fatal> {
    let before = asked.look().await?;
    let (slos, ()) = tokio::join!(asked.objectives.read(), sleep(APART));
    let report = report(&before, &asked.look().await?, slos, &asked.place);
    let shown = match output {
        Output::Text => text::screen(&report),
        Output::Json => json(serde_json::to_string_pretty(&report))?,
    };
    show(shown.trim_end(), false)?;
    verdict(&report)
}

async fn watch(asked: &Asked, output: Output, every: Duration, shutdown: &Shutdown) -> Result<(), Fatal> {
    let in_place = output == Output::Text && std::io::stdout().is_terminal();
    if in_place {
        print!("{EMPTY_SCREEN}");
    }
    let mut before = None;
    let mut last = Ok(());
    let rounds = async {
        loop {
            let (now, slos) = tokio::join!(asked.look(), asked.objectives.read());
            let shown = match (now, before.take()) {
                (Ok(now), None) => {
                    before = Some(now);
                    sleep(APART.min(every)).await;
                    continue;
                }
                (Ok(now), Some(earlier)) => {
                    let report = report(&earlier, &now, slos, &asked.place);
                    before = Some(now);
                    last = verdict(&report);
                    match output {
                        Output::Json => json(serde_json::to_string(&report))?,
                        Output::Text if in_place => text::screen(&report),
                        Output::Text => line::line(&report),
                    }
                }
                (Err(error), _) => {
                    let shown = match output {
                        Output::Text => format!("{} {error}", super::report::now()),
                        Output::Json => {
                            serde_json::json!({"timestamp": super::report::now(), "error": error.to_string()})
                                .to_string()
                        }
                    };
                    last = Err(error);
                    shown
                }
            };
            if !show(&shown, in_place)? {
                return Ok(());
            }
            sleep(every).await;
        }
    };
    let ended = tokio::select! {
        ended = rounds => ended,
        () = shutdown.requested() => Ok(()),
    };
    ended.and(last)
}

impl Asked {
    async fn look(&self) -> Result<Look, Fatal> {
        match timeout(LOOK_TIME_MAX, Look::take(&self.redis, &self.keys)).await {
            Ok(looked) => looked.map_err(|error| Fatal::failed(self.place.clone(), error)),
            Err(_) => Err(Fatal::failed(self.place.clone(), format!("no answer within {} s", LOOK_TIME_MAX.as_secs()))),
        }
    }
}

fn verdict(report: &Report) -> Result<(), Fatal> {
    match report.problems.len() {
        0 => Ok(()),
        1 => Err(Fatal::Findings("something needs a person".to_owned())),
        more => Err(Fatal::Findings(format!("{more} things need a person"))),
    }
}

fn json(made: serde_json::Result<String>) -> Result<String, Fatal> {
    made.map_err(|error| Fatal::failed("cannot write the result", error))
}

/// Writes a screen or a line; false if nobody reads any more (`| head`).
fn show(shown: &str, in_place: bool) -> Result<bool, Fatal> {
    let mut out = std::io::stdout().lock();
    let written = if in_place {
        let drawn: String = shown.lines().flat_map(|line| [line, END_OF_LINE]).collect();
        write!(out, "{TOP}{drawn}{REST_OF_SCREEN}")
    } else {
        writeln!(out, "{shown}")
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Fatal::failed("standard output", error)),
    }
}
