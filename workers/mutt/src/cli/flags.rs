//! Settings as flags of a subcommand, and from parsed flags to [`Vars`].

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, parser::ValueSource};

use crate::settings::{Faults, Origin, Role, SETTINGS, Vars};

/// Subcommands that take settings as flags, and whose settings.
pub(super) const SUBCOMMANDS: [(&str, Role); 9] = [
    ("ingestor", Role::Ingestor),
    ("alerter", Role::Alerter),
    ("forwarder", Role::Forwarder),
    ("webui", Role::WebUi),
    ("relay", Role::Relay),
    ("rules", Role::Tool),
    ("db", Role::Tool),
    ("dlq", Role::Tool),
    ("status", Role::Tool),
];

const SETTINGS_FILE: &str = "settings-file";
const CHECK: &str = "check";

/// Adds the flags of a role's settings.
pub(super) fn add(command: clap::Command, role: Role) -> clap::Command {
    let is_tool = role == Role::Tool;
    let mut command = command.arg(
        Arg::new(SETTINGS_FILE)
            .long("settings")
            .value_name("FILE")
            .global(is_tool)
            .value_parser(clap::value_parser!(PathBuf))
            .help("Read settings from lines NAME=value; environment and flags win over it"),
    );
    if !is_tool {
        command = command.arg(
            Arg::new(CHECK)
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Validate the settings, say what is wrong and end (0 = good, 64 = not)"),
        );
    }
    for setting in SETTINGS.iter().filter(|setting| setting.roles.contains(&role)) {
        let mut help = setting.help.to_owned();
        if !setting.default.is_empty() {
            help = format!("{help} [default: {}]", setting.default);
        }
        let argument = Arg::new(setting.name)
            .long(setting.name.to_ascii_lowercase().replace('_', "-"))
            .env(setting.name)
            .hide_env_values(true)
            .value_name("VALUE")
            .allow_hyphen_values(true)
            .global(is_tool)
            .help_heading("Settings")
            .help(help);
        command = command.arg(argument);
    }
    command
}

/// Whether only a check was asked for.
pub(super) fn check_only(matches: &ArgMatches) -> bool {
    innermost(matches).try_get_one::<bool>(CHECK).ok().flatten().copied().unwrap_or(false)
}

/// The environment, the settings file and the flags, the strongest last.
pub(super) fn vars(matches: &ArgMatches) -> Result<Vars, Faults> {
    let matches = innermost(matches);
    let mut vars = Vars::from_environment();
    for setting in SETTINGS {
        let given = matches.try_get_one::<String>(setting.name).ok().flatten();
        if let Some(value) = given
            && matches.value_source(setting.name) == Some(ValueSource::CommandLine)
        {
            vars.set(setting.name, value.as_str(), Origin::Flag);
        }
    }
    if let Some(path) = settings_file(matches) {
        vars.add_file(path).map_err(Faults)?;
    }
    Ok(vars)
}

fn settings_file(matches: &ArgMatches) -> Option<&Path> {
    matches.try_get_one::<PathBuf>(SETTINGS_FILE).ok().flatten().map(PathBuf::as_path)
}

/// The matches of the last subcommand; global flags are repeated there.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| innermost(inner))
}
