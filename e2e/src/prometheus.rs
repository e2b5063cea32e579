//! A real Prometheus that scrapes roles of a test and records the objectives.

use std::{fmt::Write, fs, process::Command, process::Stdio};

use mutt_servers::{ManagedChild, find_program, free_port};
use rustix::process::Signal;

use crate::{LIMIT, RoleProcess, client, repository};

const RULES: &str = "mutt.rules.yaml";

/// A running Prometheus; it is killed when this value is dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: ManagedChild,
    port: u16,
    directory: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes the roles each second as those of the pipeline `e2e/core`, with the rules of `manifests/prometheus`.
    ///
    /// # Panics
    /// When Prometheus is not installed (`.ci/setup test`) or does not start.
    pub async fn start(roles: &[&RoleProcess]) -> Self {
        Self::start_with(&Self::config(roles)).await
    }

    /// With a configuration whose `rule_files` are those of `manifests/prometheus`; each group is evaluated as often as
    /// `evaluation_interval` says.
    ///
    /// # Panics
    /// When Prometheus is not installed (`.ci/setup test`) or does not start.
    pub async fn start_with(configuration: &str) -> Self {
        let program = find_program("prometheus", &[]).expect("prometheus (.ci/setup test)");
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("prometheus.yml");
        fs::write(&config, configuration).unwrap();
        fs::write(directory.path().join(RULES), rules()).unwrap();
        // Another process may take a port between the choice and the start.
        for _ in 0..5 {
            let port = free_port().unwrap();
            let log = fs::File::create(directory.path().join("log")).unwrap();
            let mut command = Command::new(&program);
            command
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log);
            let mut child = ManagedChild::spawn(command, Signal::KILL).unwrap();
            if answers(&mut child, port).await {
                return Self { child, port, directory };
            }
        }
        panic!("prometheus does not start: {}", fs::read_to_string(directory.path().join("log")).unwrap_or_default());
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Ends it.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
    }

    fn config(roles: &[&RoleProcess]) -> String {
        let mut text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{RULES}]\nscrape_configs:\n"
        );
        for role in roles {
            let labels = "{namespace: e2e, pipeline: core}";
            let (job, target) = (role.role().command(), format!("127.0.0.1:{}", role.metrics_port()));
            let _ =
                writeln!(text, "- job_name: {job}\n  static_configs: [{{targets: ['{target}'], labels: {labels}}}]");
        }
        text
    }
}

/// Nobody waits minutes in a test for the groups that have an interval of their own.
fn rules() -> String {
    let text = fs::read_to_string(repository().join("manifests/prometheus").join(RULES)).unwrap();
    text.split_inclusive('\n').filter(|line| !line.starts_with("    interval: ")).collect()
}

/// Whether it is ready; false if it has ended.
async fn answers(child: &mut ManagedChild, port: u16) -> bool {
    let client = client();
    let start = std::time::Instant::now();
    while start.elapsed() < LIMIT {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        let answer = client.get(format!("http://127.0.0.1:{port}/-/ready")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    false
}
