//! One role as a process.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use mutt_servers::{ManagedChild, free_port};
use rustix::process::Signal;

use crate::{LIMIT, binary, client, eventually};

/// A role of `mutt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `mutt ingestor`.
    Ingestor,
    /// `mutt alerter`.
    Alerter,
    /// `mutt forwarder`.
    Forwarder,
    /// `mutt webui`.
    WebUi,
}

impl Role {
    /// The command.
    pub fn command(self) -> &'static str {
        match self {
            Self::Ingestor => "ingestor",
            Self::Alerter => "alerter",
            Self::Forwarder => "forwarder",
            Self::WebUi => "webui",
        }
    }

    /// Names of the settings of the health port and of the metrics port.
    fn ports(self) -> (&'static str, &'static str) {
        match self {
            Self::Ingestor => ("SERVER_PORT_INGESTOR", "SERVER_PORT_INGESTOR"),
            Self::Alerter => ("HEALTH_PORT_ALERTER", "METRICS_PORT_ALERTER"),
            Self::Forwarder => ("HEALTH_PORT_MOOG", "METRICS_PORT_MOOG"),
            Self::WebUi => ("SERVER_PORT_WEBUI", "SERVER_PORT_WEBUI"),
        }
    }
}

/// A running role; it is killed when this value is dropped. A test that fails prints the end of its log.
#[derive(Debug)]
pub struct RoleProcess {
    role: Role,
    child: ManagedChild,
    log: PathBuf,
    scheme: &'static str,
    health_port: u16,
    metrics_port: u16,
    _directory: tempfile::TempDir,
}

impl RoleProcess {
    /// Starts the role on free ports (unless `environment` names them) and does not wait for anything.
    pub fn spawn(role: Role, environment: &[(String, String)]) -> Self {
        let (health, metrics) = role.ports();
        let given =
            |name: &str| environment.iter().rev().find(|(key, _)| key == name).map(|(_, port)| port.parse().unwrap());
        let health_port: u16 = given(health).unwrap_or_else(|| free_port().unwrap());
        let metrics_port: u16 =
            if health == metrics { health_port } else { given(metrics).unwrap_or_else(|| free_port().unwrap()) };
        let has_tls = environment.iter().any(|(name, _)| name == "SERVER_TLS_CERT_PATH");
        let scheme = if has_tls { "https" } else { "http" };
        let mut environment = environment.to_vec();
        environment.push((health.to_owned(), health_port.to_string()));
        environment.push((metrics.to_owned(), metrics_port.to_string()));
        environment.push(("RUST_BACKTRACE".to_owned(), "1".to_owned()));

        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let file = File::create(&log).unwrap();
        let mut command = binary::command(&[role.command()], &environment);
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = ManagedChild::spawn(command, Signal::KILL).unwrap();
        Self { role, child, log, scheme, health_port, metrics_port, _directory: directory }
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// `http://127.0.0.1:<port>` (https where TLS is set) of the port that answers `/ready` (and of the API, where the role has one).
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.health_port)
    }

    /// The port of [`Self::url`].
    pub fn port(&self) -> u16 {
        self.health_port
    }

    /// The port of `/metrics`.
    pub fn metrics_port(&self) -> u16 {
        self.metrics_port
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Status of a GET, 0 when nothing answers.
    pub async fn status(&self, path: &str) -> u16 {
        let answer = client().get(format!("{}{path}", self.url())).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    /// Waits until `/ready` answers 200.
    ///
    /// # Panics
    /// When the process ends or the time is up.
    pub async fn wait_ready(&mut self) {
        let what = format!("/ready of {}", self.role.command());
        let client = client();
        let url = format!("{}/ready", self.url());
        let child = &mut self.child;
        eventually(&what, async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("ended with {status} before it was ready");
            }
            client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Sum of a metric over its label sets, 0 when it is not there. `labels` must all appear, as `status="fail"`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let url = format!("{}://127.0.0.1:{}/metrics", self.scheme, self.metrics_port);
        let Ok(answer) = client().get(url).send().await else { return 0.0 };
        let text = answer.text().await.unwrap_or_default();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
                && labels.iter().all(|label| line.contains(label))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal).unwrap();
    }

    /// Kills it (SIGKILL).
    pub fn kill(mut self) {
        self.child.kill().unwrap();
    }

    /// Sends SIGTERM and waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn wait(&mut self) -> ExitStatus {
        self.child.wait(LIMIT).await.unwrap().expect("the process does not end")
    }
}

impl Drop for RoleProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- {} (pid {}) logged:\n{tail}\n---", self.role.command(), self.child.id());
        }
        let _ = self.child.kill();
    }
}
