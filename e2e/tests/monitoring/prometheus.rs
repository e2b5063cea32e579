//! A real Prometheus that scrapes a running pipeline as `manifests/prometheus` says.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use mutt_e2e::{LIMIT, RoleProcess, client, repository};
use mutt_servers::{ManagedChild, TlsFiles, find_program, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A Prometheus with its files; it ends with this value.
pub(crate) struct Prometheus {
    url: String,
    child: ManagedChild,
    directory: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes these roles as the pipeline netops/core, each second.
    pub(crate) fn start(roles: &[RoleProcess], tls: &TlsFiles) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("prometheus.yml"), configuration(roles, tls).to_string()).unwrap();
        let alerts = repository().join("manifests/prometheus/mutt.rules.yaml");
        fs::copy(alerts, directory.path().join("mutt.rules.yaml")).unwrap();
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(find_program("prometheus", &[]).expect("prometheus (.ci/setup test)"));
        command
            .current_dir(directory.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = ManagedChild::spawn(command, Signal::KILL).unwrap();
        Self { url: format!("http://{address}/api/v1"), child, directory }
    }

    /// `data` of an answer of its API, null while it does not answer.
    pub(crate) async fn get(&mut self, path: &str, parameters: &[(&str, &str)]) -> Value {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("Prometheus ended with {status}: {}", self.log());
        }
        let mut url = reqwest::Url::parse(&format!("{}/{path}", self.url)).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        let Ok(answer) = client().get(url).send().await else { return Value::Null };
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default();
        assert!(answer.is_null() || answer["status"] == "success", "{path} {parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// Names of all series.
    pub(crate) async fn names(&mut self) -> BTreeSet<String> {
        let data = self.get("label/__name__/values", &[]).await;
        data.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// What it said.
    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

/// `manifests/prometheus/prometheus.yml` with the places of this test.
fn configuration(roles: &[RoleProcess], tls: &TlsFiles) -> Value {
    let text = fs::read_to_string(repository().join("manifests/prometheus/prometheus.yml")).unwrap();
    let mut configuration: Value = serde_saphyr::from_str(&text).unwrap();
    configuration["global"] = json!({"scrape_interval": "1s", "evaluation_interval": "1s"});
    let jobs = configuration["scrape_configs"].as_array_mut().unwrap();
    assert_eq!(jobs.len(), roles.len());
    for job in jobs {
        let role = roles.iter().find(|role| job["job_name"] == role.role().command()).expect("a job for each role");
        let labels = json!({"namespace": "netops", "pipeline": "core"});
        let target = format!("127.0.0.1:{}", role.metrics_port());
        job["static_configs"] = json!([{"targets": [target], "labels": labels}]);
        job["scheme"] = json!("https");
        job["tls_config"] = json!({"ca_file": path(&tls.ca)});
    }
    configuration
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

/// Asks again and again until nothing is missing.
pub(crate) async fn until_none_is_missing(mut missing: impl AsyncFnMut() -> Vec<String>) {
    let start = Instant::now();
    loop {
        let missing = missing().await;
        if missing.is_empty() {
            return;
        }
        assert!(start.elapsed() < LIMIT, "not there within {} s: {missing:#?}", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
