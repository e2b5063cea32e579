//! The command line: `mutt <role>` and the tools round the roles.

mod flags;
mod output;
mod start;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    relay::{self, RelaySettings},
    settings::{AlerterSettings, ForwarderSettings, IngestorSettings, Origin, Role, WebUiSettings},
    worker::Fatal,
};

pub(crate) use output::{Output, print};
pub(crate) use start::Tool;

/// MUTT takes syslog, SNMP traps and HTTP events, matches them against alert rules, writes an audit trail and forwards
/// alerts.
///
/// Every setting is an environment variable and a flag of the same name (`REDIS_URL` = `--redis-url`).
#[derive(Parser)]
#[command(name = "mutt", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take events over HTTP and queue them in Redis.
    Ingestor,
    /// Send lines of rsyslog's omprog (standard input) to the ingest API; each is confirmed once it is safe.
    Relay,
    /// Match queued events against the rules, audit them and queue alerts.
    Alerter,
    /// Post queued alerts to the webhook within the shared rate limit.
    Forwarder,
    /// Look at dead letters, put them back or delete them.
    Dlq(crate::dlq::DlqArgs),
    /// Show how the pipeline is: queues, rates, dead letters, webhook, rules, objectives; ends with 1 if it needs a person.
    Status(crate::status::StatusArgs),
    /// Migrate the database, keep its partitions, show its state.
    Db(crate::db::DbArgs),
    /// Apply, export, test and lint AlertRule files.
    Rules(crate::rules::RulesArgs),
    /// Run everything on this machine: private servers, all roles, sample rules and traffic.
    Dev(crate::dev::DevArgs),
    /// Serve the API of rules, audit, hosts, teams and settings on port 8090.
    Webui,
    /// Measure this machine: each figure beside its limit in the same run.
    Bench(crate::bench::BenchArgs),
    /// Send one event, or every line of a file, to the ingest API.
    Send(crate::send::SendArgs),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page (roff); `mutt man | man -l -`.
    Man,
    /// Print the table of all settings as Markdown.
    Settings,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are no faults; everything else is wrong use (sysexits 64).
            let code = if error.use_stderr() { 64 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match Cli::from_arg_matches(&matches).map_err(|error| error.exit()).and_then(|cli| dispatch(cli, &matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutt: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The whole command line, settings as flags included.
fn command() -> clap::Command {
    flags::SUBCOMMANDS.iter().fold(Cli::command(), |command, (name, role)| {
        if command.find_subcommand(name).is_some() {
            command.mut_subcommand(name, |subcommand| flags::add(subcommand, *role))
        } else {
            command
        }
    })
}

/// Runs the role unless `--check` asked for the settings alone, which are good here.
fn unless_check(matches: &ArgMatches, run: impl FnOnce() -> Result<(), Fatal>) -> Result<(), Fatal> {
    if flags::check_only(matches) {
        eprintln!("mutt: the settings are good");
        return Ok(());
    }
    run()
}

fn dispatch(cli: Cli, matches: &ArgMatches) -> Result<(), Fatal> {
    match cli.command {
        Command::Ingestor => {
            let vars = flags::vars(matches)?;
            let settings = IngestorSettings::from_vars(&vars)?;
            let (common, threads) = (settings.common.clone(), settings.threads);
            unless_check(matches, || {
                start::role(Role::Ingestor, &common, &vars, threads, |context| crate::ingest::run(settings, context))
            })
        }
        Command::Relay => {
            let vars = flags::vars(matches)?;
            let settings = RelaySettings::from_vars(&vars)?;
            let common = settings.common.clone();
            unless_check(matches, || {
                start::role(Role::Relay, &common, &vars, 1, |context| relay::run(settings, context))
            })
        }
        Command::Alerter => {
            let vars = flags::vars(matches)?;
            let settings = AlerterSettings::from_vars(&vars)?;
            let common = settings.common.clone();
            unless_check(matches, || {
                start::role(Role::Alerter, &common, &vars, 1, |context| crate::alert::run(settings, context))
            })
        }
        Command::Forwarder => {
            let vars = flags::vars(matches)?;
            let settings = ForwarderSettings::from_vars(&vars)?;
            let common = settings.common.clone();
            unless_check(matches, || {
                start::role(Role::Forwarder, &common, &vars, 1, |context| crate::forward::run(settings, context))
            })
        }
        Command::Dlq(args) => start::tool(flags::vars(matches)?, |tool| crate::dlq::run(args, tool)),
        Command::Status(args) => {
            let mut vars = flags::vars(matches)?;
            // The level of the pod that it runs in would write into the screen; what matters is on it.
            if vars.origin("LOG_LEVEL") != Some(Origin::Flag) {
                vars.set("LOG_LEVEL", "error", Origin::Flag);
            }
            start::tool(vars, |tool| crate::status::run(args, tool))
        }
        Command::Db(args) => start::tool(flags::vars(matches)?, |tool| crate::db::run(args, tool)),
        Command::Rules(args) => start::tool(flags::vars(matches)?, |tool| crate::rules::run(args, tool)),
        Command::Dev(args) => start::tool(flags::vars(matches)?, |tool| crate::dev::run(args, tool)),
        Command::Webui => {
            let vars = flags::vars(matches)?;
            let settings = WebUiSettings::from_vars(&vars)?;
            let common = settings.common.clone();
            unless_check(matches, || {
                start::role(Role::WebUi, &common, &vars, 1, |context| crate::webui::run(settings, context))
            })
        }
        Command::Bench(args) => start::tool(flags::vars(matches)?, |tool| crate::bench::run(args, tool)),
        Command::Send(args) => start::tool(flags::vars(matches)?, |tool| crate::send::run(args, tool)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut command(), "mutt", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => clap_mangen::Man::new(command())
            .render(&mut std::io::stdout())
            .map_err(|error| Fatal::failed("cannot write the manual page", error)),
        Command::Settings => {
            print!("{}", crate::settings::markdown());
            Ok(())
        }
    }
}
