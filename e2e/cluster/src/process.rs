//! The cluster's programs, each with its log file, and programs of the distribution that are run to their end.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use mutt_servers::ManagedChild;
use rustix::process::Signal;

use crate::ClusterError;

const POLL: Duration = Duration::from_millis(50);
const LOG_LINES: usize = 15;

/// A program that is started in the cluster's directory and killed when this value is dropped, or with this process.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    path: PathBuf,
    arguments: Vec<String>,
    directory: PathBuf,
    search: Option<OsString>,
    child: ManagedChild,
}

impl Program {
    /// Starts it; what it writes goes to `<directory>/logs/<name>.log`.
    pub(crate) fn start_new(
        name: &'static str,
        path: PathBuf,
        arguments: Vec<String>,
        directory: &Path,
    ) -> Result<Self, ClusterError> {
        Self::start_with_path(name, path, arguments, directory, None)
    }

    /// As [`Self::start_new`], with another PATH than this process's.
    pub(crate) fn start_with_path(
        name: &'static str,
        path: PathBuf,
        arguments: Vec<String>,
        directory: &Path,
        search: Option<OsString>,
    ) -> Result<Self, ClusterError> {
        let child = spawn(name, &path, &arguments, directory, search.as_ref())?;
        Ok(Self { name, path, arguments, directory: directory.to_path_buf(), search, child })
    }

    /// Starts it again, after [`Self::kill`].
    pub(crate) fn start(&mut self) -> Result<(), ClusterError> {
        self.child = spawn(self.name, &self.path, &self.arguments, &self.directory, self.search.as_ref())?;
        Ok(())
    }

    pub(crate) fn kill(&mut self) -> Result<(), ClusterError> {
        self.child.kill().map(drop).map_err(ClusterError::io(format!("stop {}", self.name)))
    }

    /// Waits until `check` says true.
    pub(crate) async fn ready(&mut self, limit: Duration, check: impl AsyncFn() -> bool) -> Result<(), ClusterError> {
        let start = Instant::now();
        while !check().await {
            if let Some(error) = self.ended() {
                return Err(error);
            }
            if start.elapsed() > limit {
                return Err(self.not_ready(format!("no answer within {} s", limit.as_secs())));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// The error that says so, if the program has ended.
    pub(crate) fn ended(&mut self) -> Option<ClusterError> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(self.not_ready(format!("it ended with {status}"))),
            Err(source) => Some(ClusterError::io(format!("ask for {}", self.name))(source)),
        }
    }

    pub(crate) fn not_ready(&self, reason: String) -> ClusterError {
        ClusterError::NotReady {
            program: self.name,
            reason,
            log: tail(&log_file(&self.directory, self.name), LOG_LINES),
        }
    }
}

fn spawn(
    name: &str,
    path: &Path,
    arguments: &[String],
    directory: &Path,
    search: Option<&OsString>,
) -> Result<ManagedChild, ClusterError> {
    let log = log_file(directory, name);
    let log = log
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| File::options().create(true).append(true).open(&log))
        .and_then(|out| Ok((out.try_clone()?, out)))
        .map_err(ClusterError::io(format!("write {}", log.display())))?;
    let mut command = Command::new(path);
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).stdout(log.0).stderr(log.1);
    // Nothing of the cluster is reached through the proxy of this machine.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "KUBECONFIG"] {
        command.env_remove(name);
    }
    if let Some(search) = search {
        command.env("PATH", search);
    }
    ManagedChild::spawn(command, Signal::KILL).map_err(ClusterError::io(format!("start {}", path.display())))
}

fn log_file(directory: &Path, name: &str) -> PathBuf {
    directory.join("logs").join(format!("{name}.log"))
}

/// The last lines of a log file.
pub(crate) fn tail(file: &Path, count: usize) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Runs a program; its error output becomes the error.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> Result<(), ClusterError> {
    output(program, arguments).map(drop)
}

/// Runs a program and takes its output.
pub(crate) fn output(program: &Path, arguments: &[&str]) -> Result<String, ClusterError> {
    let what = || format!("run {} {}", program.display(), arguments.join(" "));
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(ClusterError::io(what()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(ClusterError::io(what())(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())))
}
