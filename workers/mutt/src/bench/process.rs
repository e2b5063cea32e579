//! Roles as child processes on a core of their own, with their CPU time and memory.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use mutt_servers::ManagedChild;
use rustix::{
    process::{Pid, Signal},
    thread::{CpuSet, sched_setaffinity},
};
use tokio::time::sleep;

use crate::worker::Fatal;

/// The core of the role under test and of the load.
pub(super) const ROLE_CORE: usize = 0;
/// The core of the server that bounds the measurement.
pub(super) const SERVER_CORE: usize = 1;

/// How long a role may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A role of this very binary.
pub(super) struct RoleProcess {
    child: ManagedChild,
}

impl RoleProcess {
    /// Starts `mutt <role>` with these settings and nothing of the caller's environment but PATH.
    pub(super) fn start(role: &str, settings: &BTreeMap<&str, String>) -> Result<Self, Fatal> {
        let failed = |error: std::io::Error| Fatal::failed(format!("cannot start mutt {role}"), error);
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .arg(role)
            .env_clear()
            .envs(settings)
            .env("LOG_LEVEL", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = ManagedChild::spawn(command, Signal::KILL).map_err(failed)?;
        pin(Some(child.id()), ROLE_CORE);
        Ok(Self { child })
    }

    /// Waits until `/ready` on `port` answers 200.
    pub(super) async fn ready(&mut self, port: u16) -> Result<(), Fatal> {
        let start = Instant::now();
        let url = format!("http://127.0.0.1:{port}/ready");
        loop {
            if reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Fatal::Refused(format!("the role ended at its start: {status}")));
            }
            if start.elapsed() > READY_TIMEOUT {
                return Err(Fatal::Refused(format!("{url} is not ready after {} s", READY_TIMEOUT.as_secs())));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the process' turning, so that work can be laid out for it.
    pub(super) fn freeze(&self) {
        let _ = self.child.signal(Signal::STOP);
    }

    /// Lets it turn again.
    pub(super) fn thaw(&self) {
        let _ = self.child.signal(Signal::CONT);
    }

    /// CPU time it used, user and system.
    pub(super) fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// The most memory it had resident.
    pub(super) fn peak_memory_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
        kib.unwrap_or(0.0) / 1024.0
    }
}

/// CPU time of a process from `/proc/<pid>/stat` (fields 14 and 15, in ticks of 10 ms).
fn cpu_of(pid: u32) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; what follows it does not.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>()).unwrap_or_default();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    TICK * (ticks(11) + ticks(12))
}

/// Binds a process (or the calling thread) to a core, where there are several.
pub(super) fn pin(pid: Option<u32>, core: usize) {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Err(error) = sched_setaffinity(pid, &cores) {
        eprintln!("not pinned to core {core}: {error}");
    }
}
