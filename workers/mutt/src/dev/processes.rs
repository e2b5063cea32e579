//! Roles as processes of their own; one that ends is started again.

use std::{
    collections::BTreeMap,
    env, io,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use mutt_servers::ManagedChild;
use rustix::process::Signal;

use super::args::DevRole;
use crate::settings::Vars;

/// How often the processes are looked at.
const POLL: Duration = Duration::from_millis(50);
/// A process that ends again and again is started at most this often.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A process that ran this long counts as healthy again.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// Exit code for bad settings: starting again would not help.
pub(super) const EXIT_SETTINGS: i32 = 64;

/// The roles' processes, in the order of `--roles`.
#[derive(Debug)]
pub(super) struct Processes {
    environment: BTreeMap<String, String>,
    workers: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    role: DevRole,
    /// `None` while it waits to be started again.
    child: Option<ManagedChild>,
    started: Instant,
    failures: u32,
}

/// Something happened to a role.
#[derive(Debug)]
pub(super) enum Change {
    /// It ended.
    Ended(DevRole, ExitStatus),
    /// It runs again.
    Started(DevRole, u32),
}

impl Processes {
    pub(super) fn start(roles: &[DevRole], vars: &Vars) -> io::Result<Self> {
        let environment = vars.to_map();
        let workers = roles.iter().map(|role| {
            let child = Some(spawn(*role, &environment)?);
            Ok(Worker { role: *role, child, started: Instant::now(), failures: 0 })
        });
        Ok(Self { workers: workers.collect::<io::Result<_>>()?, environment })
    }

    /// Process ids of those that run.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.workers.iter().filter_map(|worker| Some(worker.child.as_ref()?.id())).collect()
    }

    /// Waits for the next change. Cancelling the wait loses nothing.
    pub(super) async fn change(&mut self) -> io::Result<Change> {
        loop {
            for worker in &mut self.workers {
                if let Some(change) = worker.look(&self.environment)? {
                    return Ok(change);
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal to all.
    pub(super) fn signal(&self, signal: Signal) {
        for child in self.workers.iter().filter_map(|worker| worker.child.as_ref()) {
            let _ = child.signal(signal);
        }
    }

    /// Lets all drain at once; kills what has not ended within `grace`.
    pub(super) async fn stop(mut self, grace: Duration) {
        self.signal(Signal::TERM);
        let end = Instant::now() + grace;
        for worker in &mut self.workers {
            if let Some(child) = &mut worker.child {
                let left = end.saturating_duration_since(Instant::now());
                if !matches!(child.wait(left).await, Ok(Some(_))) {
                    tracing::warn!(role = worker.role.command(), "did not drain in time, killed");
                }
            }
        }
    }
}

impl Worker {
    fn look(&mut self, environment: &BTreeMap<String, String>) -> io::Result<Option<Change>> {
        if let Some(child) = &mut self.child {
            let Some(status) = child.try_wait()? else { return Ok(None) };
            self.failures = if self.started.elapsed() > HEALTHY_AFTER { 1 } else { self.failures + 1 };
            self.child = None;
            self.started = Instant::now();
            return Ok(Some(Change::Ended(self.role, status)));
        }
        // The first time at once, as a supervisor on a server would; then 0.2 s, 0.4 s, …
        let pause = Duration::from_millis(100) * 2_u32.saturating_pow(self.failures).saturating_sub(2);
        if self.started.elapsed() < pause.min(RESTART_PAUSE_MAX) {
            return Ok(None);
        }
        let child = spawn(self.role, environment)?;
        let id = child.id();
        self.child = Some(child);
        self.started = Instant::now();
        Ok(Some(Change::Started(self.role, id)))
    }
}

fn spawn(role: DevRole, environment: &BTreeMap<String, String>) -> io::Result<ManagedChild> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(role.command()).stdin(Stdio::null());
    // A password file of a server that is not used must not win over the private server's URL.
    for secret in crate::settings::secret_names() {
        command.env_remove(secret).env_remove(format!("{secret}_FILE"));
    }
    command.envs(environment);
    ManagedChild::spawn(command, Signal::KILL)
}
