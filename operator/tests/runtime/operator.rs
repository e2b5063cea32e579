//! The operator's binary as a child process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use mutt_servers::{ManagedChild, free_port};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{LIMIT, eventually};

pub(crate) struct Operator {
    child: ManagedChild,
    port: u16,
    log: PathBuf,
    _directory: TempDir,
}

impl Operator {
    /// Starts one with `flags`, on a free port.
    pub(crate) fn start(kubeconfig: &Path, flags: &[&str]) -> Self {
        Self::start_on(free_port().unwrap(), kubeconfig, flags)
    }

    pub(crate) fn start_on(port: u16, kubeconfig: &Path, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("operator.log");
        let mut command = command(kubeconfig);
        command.arg(format!("--http-port={port}")).args(flags).stderr(File::create(&log).unwrap());
        let child = ManagedChild::spawn(command, Signal::KILL).unwrap();
        Self { child, port, log, _directory: directory }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) async fn logs(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), async || self.log().contains(text).then_some(())).await;
    }

    /// Status and body of an answer; `None` while it does not listen yet.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Waits until `path` answers with `status` and `text` in its body.
    pub(crate) async fn answers(&self, path: &str, status: u16, text: &str) {
        let seen = async || {
            let (is, body) = self.get(path).await?;
            (is == status && body.contains(text)).then_some(())
        };
        eventually(&format!("{path} answers {status} with {text:?}; log:\n{}", self.log()), seen).await;
    }

    pub(crate) async fn leads(&self) {
        self.answers("/metrics", 200, "\nmutt_operator_leader 1\n").await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.child.signal(signal).unwrap();
    }

    /// How it ended.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        match self.child.wait(LIMIT).await.unwrap() {
            Some(status) => status,
            None => panic!("it does not end; log:\n{}", self.log()),
        }
    }

    pub(crate) async fn ends_with(&mut self, code: i32) {
        assert_eq!(self.ends().await.code(), Some(code), "log:\n{}", self.log());
    }
}

/// Of the environment, only what finds programs is taken over.
pub(crate) fn command(kubeconfig: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mutt-operator"));
    command.env_clear().env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    command
}
