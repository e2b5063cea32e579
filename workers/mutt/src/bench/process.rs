//! Roles as child processes on a core of their own, with their CPU time and memory.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::JoinHandle,
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

    /// Watches its resident memory from now on.
    pub(super) fn watch_memory(&self) -> MemoryWatch {
        let pid = self.child.id();
        let (end, ended) = mpsc::channel();
        let samples = std::thread::spawn(move || {
            let mut largest = memory_mib(pid, "VmRSS:");
            while ended.recv_timeout(SAMPLE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                largest = largest.max(memory_mib(pid, "VmRSS:"));
            }
            Memory { under_load: largest.max(memory_mib(pid, "VmRSS:")), since_start: memory_mib(pid, "VmHWM:") }
        });
        MemoryWatch { end, samples }
    }
}

/// How often the resident memory of a role is looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// Resident memory of a role, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Memory {
    /// The largest of the samples while the load ran.
    pub(super) under_load: f64,
    /// The peak since the process began, its start and the compilation of its rules included.
    pub(super) since_start: f64,
}

impl Memory {
    /// The larger figures of two runs.
    pub(super) fn max(self, other: Self) -> Self {
        Self { under_load: self.under_load.max(other.under_load), since_start: self.since_start.max(other.since_start) }
    }
}

/// Takes samples of a role's memory until it is told to end.
pub(super) struct MemoryWatch {
    end: Sender<()>,
    samples: JoinHandle<Memory>,
}

impl MemoryWatch {
    /// What was seen; the role must still be there.
    pub(super) fn end(self) -> Result<Memory, Fatal> {
        drop(self.end);
        self.samples.join().map_err(|_| Fatal::Refused("the thread that watches memory panicked".to_owned()))
    }
}

/// A figure of `/proc/<pid>/status`; 0 if the process is gone.
fn memory_mib(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// A tick of `/proc/<pid>/stat`.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process, user and system.
pub(super) fn cpu_of(pid: u32) -> Duration {
    let [user, system, ..] = ticks(pid);
    TICK * (user + system)
}

/// CPU time of a process, of its living children, and of those that have ended.
pub(super) fn cpu_of_family(pid: u32) -> Duration {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let living = children.split_whitespace().filter_map(|child| child.parse().ok()).map(cpu_of).sum::<Duration>();
    TICK * ticks(pid).iter().sum::<u32>() + living
}

/// User and system time of a process and of its ended children (fields 14 to 17 of `/proc/<pid>/stat`); 0 if it is gone.
fn ticks(pid: u32) -> [u32; 4] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; what follows it does not, and begins with field 3.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>()).unwrap_or_default();
    [11, 12, 13, 14].map(|index| fields.get(index).and_then(|text| text.parse().ok()).unwrap_or(0))
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
