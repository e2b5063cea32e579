//! Where the binary under test is.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The repository's top directory.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The binary: `MUTT_BIN`, else `mutt` beside the directory of the running test (`target/debug/mutt`).
///
/// # Panics
/// When it is not there; `make e2e` builds it first.
pub fn mutt() -> PathBuf {
    let given = env::var_os("MUTT_BIN").map(PathBuf::from);
    let path = given.unwrap_or_else(|| {
        let test = env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().join("mutt")
    });
    assert!(path.is_file(), "{} is missing: run `cargo build -p mutt` or set MUTT_BIN", path.display());
    path
}

/// A command of the binary in an environment of which only PATH is taken over.
pub(crate) fn command(arguments: &[&str], environment: &[(String, String)]) -> Command {
    let mut command = Command::new(mutt());
    command.args(arguments).env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Runs the binary to its end.
///
/// # Panics
/// When it cannot be started.
pub async fn output_of(arguments: &[&str], environment: &[(String, String)]) -> Output {
    let mut command = command(arguments, environment);
    tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output()).await.unwrap().unwrap()
}
