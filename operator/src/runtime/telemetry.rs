//! Log lines to standard error: JSON in containers, text on a terminal.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt};

use super::{Args, Fatal};

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors: one object a line.
    Json,
}

impl LogFormat {
    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Installs the subscriber of this process.
pub fn init(args: &Args) -> Result<(), Fatal> {
    let terminal = io::stderr().is_terminal();
    let filter = EnvFilter::try_new(&args.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(terminal);
    let installed = match args.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => builder.with_target(false).finish().try_init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
        }
    };
    installed.map_err(|error| Fatal::failed("cannot start logging", error))
}
