//! Log lines: JSON in containers, text on a terminal; to standard error or to a file per role.

use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
    sync::Mutex,
};

use tracing_subscriber::{EnvFilter, fmt, fmt::writer::BoxMakeWriter, util::SubscriberInitExt};

use crate::{
    settings::{LogFormat, LogSettings},
    worker::Fatal,
};

/// Installs the subscriber of this process. `name` is the log file's name where a directory is set.
pub(crate) fn init(settings: &LogSettings, name: &str) -> Result<(), Fatal> {
    let writer = match &settings.directory {
        None => BoxMakeWriter::new(io::stderr),
        Some(directory) => {
            let path = directory.join(format!("{name}.log"));
            let file = OpenOptions::new().create(true).append(true).open(&path);
            let file =
                file.map_err(|error| Fatal::failed(format!("LOG_DIR: cannot open {}", path.display()), error))?;
            BoxMakeWriter::new(Mutex::new(file))
        }
    };
    let to_terminal = settings.directory.is_none() && io::stderr().is_terminal();
    let format = settings.format.unwrap_or(if to_terminal { LogFormat::Text } else { LogFormat::Json });
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = fmt().with_env_filter(filter).with_writer(writer).with_ansi(to_terminal).with_thread_names(true);
    let installed = match format {
        LogFormat::Text => builder.with_target(false).finish().try_init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
        }
    };
    installed.map_err(|error| Fatal::failed("cannot start logging", error))
}
