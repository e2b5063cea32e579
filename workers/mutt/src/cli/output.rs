//! How the tools print their results.

use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

use crate::worker::Fatal;

/// The value of `--output`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// Prints a result to standard output.
pub(crate) fn print<T: Serialize + ?Sized>(
    output: Output,
    result: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Fatal> {
    let text = match output {
        Output::Text => text(result),
        Output::Json => {
            serde_json::to_string_pretty(result).map_err(|error| Fatal::failed("cannot write the result", error))?
        }
    };
    // A reader that closed the pipe has seen enough.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    Ok(())
}
