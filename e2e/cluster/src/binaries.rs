//! Where the programs are: those that `e2e/cluster/build` has compiled, and those of the distribution.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::ClusterError;

/// The versions, one `NAME=VALUE` a line; the build script reads the same file.
const VERSIONS: &str = include_str!("../versions");

/// The folder of the compiled programs of these versions.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The folder under `$XDG_CACHE_HOME` (or `~/.cache`) that `e2e/cluster/build` fills.
    pub fn cached() -> Self {
        let versions: Vec<&str> =
            VERSIONS.lines().filter_map(|line| line.split_once('=').map(|(_, version)| version)).collect();
        Self { folder: cache().join(format!("cluster-{}", versions.join("-"))) }
    }

    /// The folder itself, to be put into PATH.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A compiled program.
    ///
    /// # Errors
    /// [`ClusterError::NotBuilt`].
    pub fn get(&self, name: &str) -> Result<PathBuf, ClusterError> {
        let path = self.folder.join(name);
        if path.is_file() { Ok(path) } else { Err(ClusterError::NotBuilt(path)) }
    }

    /// `kubectl` of PATH, else the compiled one: it is built only where there is none.
    ///
    /// # Errors
    /// [`ClusterError::NotBuilt`].
    pub fn kubectl(&self) -> Result<PathBuf, ClusterError> {
        installed("kubectl").or_else(|_| self.get("kubectl"))
    }
}

/// Where MUTT's development keeps what outlives a checkout.
pub(crate) fn cache() -> PathBuf {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache =
        set("XDG_CACHE_HOME").unwrap_or_else(|| set("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(".cache"));
    cache.join("mutt")
}

/// A program of the distribution.
pub(crate) fn installed(program: &'static str) -> Result<PathBuf, ClusterError> {
    mutt_servers::find_program(program, &[("/", "", "sbin")]).map_err(|_| ClusterError::NotInstalled(program))
}
