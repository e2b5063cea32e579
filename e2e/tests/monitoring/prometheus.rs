//! A real Prometheus that scrapes a running pipeline as `manifests/prometheus` says.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use mutt_e2e::{LIMIT, Prometheus, RoleProcess, client, repository};
use mutt_servers::TlsFiles;
use serde_json::{Value, json};

/// Scrapes these roles as the pipeline netops/core, each second.
pub(crate) async fn start(roles: &[RoleProcess], tls: &TlsFiles) -> Prometheus {
    Prometheus::start_with(&configuration(roles, tls).to_string()).await
}

/// `data` of an answer of its API, null while it does not answer.
pub(crate) async fn get(prometheus: &Prometheus, path: &str, parameters: &[(&str, &str)]) -> Value {
    let mut url = reqwest::Url::parse(&format!("{}/api/v1/{path}", prometheus.url())).unwrap();
    url.query_pairs_mut().extend_pairs(parameters);
    let Ok(answer) = client().get(url).send().await else { return Value::Null };
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default();
    assert!(answer.is_null() || answer["status"] == "success", "{path} {parameters:?}: {answer}");
    answer["data"].clone()
}

/// Names of all series.
pub(crate) async fn names(prometheus: &Prometheus) -> BTreeSet<String> {
    let data = get(prometheus, "label/__name__/values", &[]).await;
    data.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
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
pub(crate) async fn until_none_is_missing(prometheus: &Prometheus, mut missing: impl AsyncFnMut() -> Vec<String>) {
    let start = Instant::now();
    loop {
        let missing = missing().await;
        if missing.is_empty() {
            return;
        }
        assert!(start.elapsed() < LIMIT, "not there within {} s: {missing:#?}\n{}", LIMIT.as_secs(), prometheus.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
