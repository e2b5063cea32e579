//! Directories of private servers. Each holds a file `lock` that its owner keeps locked, so that a directory
//! left behind by a killed process can be told from one in use.

use std::{
    env,
    ffi::OsStr,
    fs,
    fs::File,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::ServerError;

const NAME_PREFIX: &str = "mutt-server-";

/// A directory that is removed with this value.
#[derive(Debug)]
pub struct ServerDirectory {
    directory: TempDir,
    _lock: File,
}

impl ServerDirectory {
    /// Makes the directory; others may pass through it (mode 0711), since PostgreSQL's files below it may
    /// belong to another user.
    ///
    /// # Errors
    /// When no directory can be made in the temporary directory.
    pub fn create() -> Result<Self, ServerError> {
        let root = root();
        let at = |what: &str| ServerError::io(format!("{what} in {}", root.display()));
        let directory =
            tempfile::Builder::new().prefix(NAME_PREFIX).tempdir_in(&root).map_err(at("make a directory"))?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).map_err(at("set permissions"))?;
        let lock = File::create(directory.path().join("lock")).map_err(at("make a lock file"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| at("lock a file")(errno.into()))?;
        Ok(Self { directory, _lock: lock })
    }

    /// True when a directory of this name is there, be it in use or not yet removed.
    pub fn exists(name: &OsStr) -> bool {
        root().join(name).is_dir()
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// The temporary directory if every user may pass through it, else `/tmp`.
fn root() -> PathBuf {
    let wanted = env::temp_dir();
    let open_to_all = wanted
        .ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0));
    if open_to_all { wanted } else { PathBuf::from("/tmp") }
}

/// Removes the directories of private servers whose process was killed before it could do so itself.
pub fn sweep_abandoned() {
    let Ok(entries) = fs::read_dir(root()) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(NAME_PREFIX) {
            continue;
        }
        let abandoned = File::open(entry.path().join("lock"))
            .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok());
        if abandoned && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::debug!(path = %entry.path().display(), %error, "abandoned directory stays");
        }
    }
}
