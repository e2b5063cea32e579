//! The command line of `mutt rules`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::apply::{ApplyOptions, apply};
use super::export::export;
use super::lint::lint;
use super::trial::trial;
use crate::cli::{Output, Tool};
use crate::worker::Fatal;

const EXIT_CODES: &str = "Exit codes: 0 good, 1 faults or findings (nothing is written then), 64 wrong use, \
    69 PostgreSQL or Redis does not answer, 78 refused: the rules are not kept in PostgreSQL.";

/// Alert rules: apply, export, test and lint AlertRule files.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    output: Output,
}

/// Where AlertRules are read.
#[derive(Args)]
pub(super) struct Files {
    /// AlertRule file (YAML or JSON, several documents allowed), a directory of them, or - for standard input; may be
    /// repeated.
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-", required = true)]
    pub(super) files: Vec<PathBuf>,
}

#[derive(Subcommand)]
enum RulesCommand {
    /// Make the rules in PostgreSQL those of the files; all faults are reported before anything is written.
    #[command(after_help = EXIT_CODES)]
    Apply {
        #[command(flatten)]
        files: Files,
        /// Remove named rules that the files do not have; if they have a MuttPipeline, hosts and teams too.
        #[arg(long)]
        prune: bool,
        /// Say what would change and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Why, for the configuration audit.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Wait until every alerter uses the rules; end with 1 if one does not.
        #[arg(long)]
        wait: bool,
        /// Seconds that --wait waits.
        #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
        wait_timeout: u64,
        /// Who changes the rules, for the configuration audit.
        #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "mutt rules apply")]
        changed_by: String,
    },
    /// Write the rules of PostgreSQL as AlertRule YAML that applies back identically.
    #[command(after_help = EXIT_CODES)]
    Export {
        /// Directory that gets a file for each rule, and pipeline.yaml; - for standard output.
        #[arg(short = 'o', long = "to", value_name = "DIR|-", default_value = "-")]
        to: PathBuf,
    },
    /// Run the tests that rules carry; with --event, say which rule takes an event and why.
    #[command(after_help = EXIT_CODES)]
    Test {
        #[command(flatten)]
        files: Files,
        /// An event: JSON text, or a file with one event per line.
        #[arg(long, value_name = "FILE|JSON")]
        event: Option<String>,
    },
    /// Find faults, and warn of rules that are shadowed, slow or have an unknown handling word.
    #[command(after_help = EXIT_CODES)]
    Lint {
        #[command(flatten)]
        files: Files,
        /// End with 1 on warnings, too.
        #[arg(long)]
        strict: bool,
    },
}

/// Runs `mutt rules`.
///
/// # Errors
/// Faults in the files, tests that fail, servers that do not answer.
pub(crate) async fn run(args: RulesArgs, tool: Tool) -> Result<(), Fatal> {
    let output = args.output;
    match args.command {
        RulesCommand::Apply { files, prune, dry_run, reason, wait, wait_timeout, changed_by } => {
            let wait = wait.then(|| Duration::from_secs(wait_timeout));
            let options = ApplyOptions { prune, dry_run, reason, wait, changed_by };
            apply(&files.files, options, output, &tool).await
        }
        RulesCommand::Export { to } => export(&to, output, &tool).await,
        RulesCommand::Test { files, event } => trial(&files.files, event.as_deref(), output),
        RulesCommand::Lint { files, strict } => lint(&files.files, strict, output),
    }
}
