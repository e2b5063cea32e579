//! Writes what is generated from the types of the custom resources; `crdgen --check` compares instead.

use std::path::PathBuf;
use std::process::ExitCode;

use mutt_crds::generated;

fn main() -> ExitCode {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let result = match std::env::args().nth(1).as_deref() {
        None => generated::write(&root),
        Some("--check") => generated::check(&root),
        Some(other) => {
            eprintln!("crdgen: unknown argument {other:?}; usage: crdgen [--check]");
            return ExitCode::from(64);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crdgen: {error}");
            ExitCode::FAILURE
        }
    }
}
