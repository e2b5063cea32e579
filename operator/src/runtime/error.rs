//! How the process ends unsuccessfully.

use std::error::Error;

use super::args::Faults;

/// Why the operator ends. The text is what a person reads at 3 a.m.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The flags or variables are wrong.
    #[error("{0}")]
    Arguments(#[from] Faults),
    /// The port of health and metrics cannot be opened.
    #[error("cannot listen on port {port}: {source}; is another process using it? (`ss -ltnp`)")]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// A supervised task ended although nobody asked for it; with it ends the process, since a half-dead operator that
    /// looks alive is worse than a restart.
    #[error("{task} ended: {reason}")]
    Task {
        /// The task's name.
        task: &'static str,
        /// Its error, its panic, or that it returned.
        reason: String,
    },
    /// `--check` found the operator of the cluster not working.
    #[error("{0}")]
    Check(String),
    /// Something needed failed.
    #[error("{what}: {source}")]
    Failed {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Fatal {
    /// A failure of `what`.
    pub fn failed(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { what, source: source.into() }
    }

    /// 1 findings of `--check`; sysexits(3): 64 wrong arguments, 69 something needed is unavailable, 70 a task of our own ended.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Check(_) => 1,
            Self::Arguments(_) => 64,
            Self::Listen { .. } | Self::Failed { .. } => 69,
            Self::Task { .. } => 70,
        }
    }
}
