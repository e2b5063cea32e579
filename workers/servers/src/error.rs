//! What can go wrong with a private server.

use std::{io, path::PathBuf};

/// Why a private server could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The program is not installed where it is looked for.
    #[error("{program} is not installed (looked in {looked_in}); `make run` installs it")]
    NotInstalled {
        /// Name of the program, as `redis-server`.
        program: &'static str,
        /// Where it was looked for.
        looked_in: String,
    },
    /// The program started but ended before it answered, or did not answer in time.
    #[error("{program} did not become ready: {reason}\n{log}")]
    NotReady {
        /// Name of the program.
        program: &'static str,
        /// What happened.
        reason: String,
        /// The last lines of its log.
        log: String,
    },
    /// A helper program (initdb, psql) failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// Name of the program.
        program: &'static str,
        /// Its standard error.
        output: String,
    },
    /// A file, socket or process could not be used.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The server answered something else than expected.
    #[error("unexpected answer: {0}")]
    Answer(String),
    /// No user is there to run PostgreSQL as; it refuses to run as root.
    #[error("running as root needs a user `postgres` or `nobody` to run PostgreSQL as")]
    NoUser,
    /// A file that should be there is not.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// The server is stopped.
    #[error("{0} is not running")]
    NotRunning(&'static str),
}

impl ServerError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
