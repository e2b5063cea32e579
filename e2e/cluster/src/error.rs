//! What can go wrong with a cluster.

use std::{io, path::PathBuf};

/// Why the cluster, or a part of it, could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// `e2e/cluster/build` has not run on this machine, or not for these versions.
    #[error("{} is not there; `make cluster-binaries` builds it", .0.display())]
    NotBuilt(PathBuf),
    /// `e2e/cluster/build-keda` has not compiled KEDA on this machine, or not this version.
    #[error("KEDA is not in {}; `make keda-binaries` builds it", .0.display())]
    NoKeda(PathBuf),
    /// A node makes namespaces, mounts and interfaces.
    #[error("a node needs root: run this with sudo (the control plane alone does not)")]
    NotRoot,
    /// A program of the distribution is missing.
    #[error("{0} is not installed; `make setup` installs it")]
    NotInstalled(&'static str),
    /// A program ended before it was ready, or was not ready in time.
    #[error("{program} did not become ready: {reason}\n{log}")]
    NotReady {
        /// Name of the program.
        program: &'static str,
        /// What happened.
        reason: String,
        /// The last lines of its log.
        log: String,
    },
    /// A directory or port of the private servers could not be had.
    #[error(transparent)]
    Server(#[from] mutt_servers::ServerError),
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The API server could not be asked.
    #[error("cannot ask the API server")]
    Request(#[from] reqwest::Error),
    /// A file or process could not be used.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl ClusterError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
