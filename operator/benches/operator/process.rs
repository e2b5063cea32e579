//! Child processes and what the kernel says about them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use mutt_servers::{ManagedChild, free_port};
use rustix::process::Signal;
use tempfile::TempDir;

/// Bound of everything that is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// The operator's binary: `MUTT_OPERATOR_BIN`, else the one built with this program.
pub(crate) fn operator() -> PathBuf {
    std::env::var_os("MUTT_OPERATOR_BIN").map_or_else(|| env!("CARGO_BIN_EXE_mutt-operator").into(), PathBuf::from)
}

/// A child with a log file and a port that answers `/ready` and `/metrics`.
pub(crate) struct Process {
    child: ManagedChild,
    port: u16,
    log: PathBuf,
    _directory: TempDir,
}

impl Process {
    pub(crate) fn start(mut command: Command, port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = ManagedChild::spawn(command, Signal::KILL).unwrap();
        Self { child, port, log, _directory: directory }
    }

    /// The operator, on a free port.
    pub(crate) fn operator(kubeconfig: &Path) -> Self {
        let port = free_port().unwrap();
        let mut command = Command::new(operator());
        // The allocator's settings may be tried out from outside.
        let allocator = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MIMALLOC_"));
        command.env_clear().env("KUBECONFIG", kubeconfig).envs(allocator);
        command.args([format!("--http-port={port}"), "--watch-namespace=bench".to_owned()]);
        command.args(["--lease-namespace=bench", "--pod-name=bench-0", "--log-format=text"]);
        Self::start(command, port)
    }

    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = reqwest::get(format!("http://127.0.0.1:{}{path}", self.port)).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Sum of a metric over the label sets that `keep` accepts.
    pub(crate) async fn metric(&self, name: &str, keep: impl Fn(&str) -> bool) -> f64 {
        let Some((200, text)) = self.get("/metrics").await else { return 0.0 };
        let lines = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])) && keep(line));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Requests to the API server that wrote, besides the Lease.
    pub(crate) async fn writes(&self) -> f64 {
        self.metric("mutt_operator_writes_total", |line| !line.contains(r#"resource="leases""#)).await
    }

    /// Which ones, for people.
    pub(crate) async fn writes_by_resource(&self) -> String {
        let Some((_, text)) = self.get("/metrics").await else { return String::new() };
        let lines = text.lines().filter_map(|line| line.strip_prefix("mutt_operator_writes_total"));
        lines.collect::<Vec<_>>().join(" ")
    }

    pub(crate) async fn is_ready(&self) -> bool {
        matches!(self.get("/ready").await, Some((200, _)))
    }

    /// Waits until `condition` holds for this process.
    pub(crate) async fn wait(&mut self, what: &str, mut condition: impl AsyncFnMut(&Self) -> bool) {
        let until = tokio::time::Instant::now() + LIMIT;
        loop {
            if condition(self).await {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            let in_time = ended.is_none() && tokio::time::Instant::now() < until;
            assert!(in_time, "{what}: not reached; ended: {ended:?}; end of the log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it and waits.
    pub(crate) async fn stop(mut self) {
        self.child.stop(Signal::TERM, Duration::from_secs(30)).await.unwrap();
    }

    /// The log's last lines.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Resident memory in MiB: now, and the most since its start.
    pub(crate) fn memory_mib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap().div_ceil(1024)
        };
        (mib("VmRSS:"), mib("VmHWM:"))
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Fields after the command, which is in brackets: state is the first, utime the 12th, stime the 13th.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // USER_HZ, 100 on every architecture that MUTT is built for.
        Duration::from_millis(ticks * 10)
    }
}
