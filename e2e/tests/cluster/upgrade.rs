//! Upgrade from an older chart, and uninstalling: nothing restarts without a cause, no namespace hangs, the objects stay.

use super::installation::{DumpOnFailure, alone};
use super::kubectl::{get, kubectl, list, run};
use super::pipeline::Deployed;

const NAMESPACE: &str = "lifecycle";
const OPERATOR: [&str; 4] = ["--namespace", "mutt-system", "--set", "global.imageRegistry=localhost"];

#[tokio::test]
async fn an_older_chart_is_upgraded_and_uninstalled() {
    let _cluster = alone().await;
    let _dump = DumpOnFailure(NAMESPACE);
    let old = |chart: &str| format!("e2e/tests/cluster/testdata/{chart}-3.0.0-alpha.1.tgz");
    // Installed by Helm 3, upgraded by Helm 4, as people will.
    run("helm3", &["install", "mutt-crds", &old("mutt-crds")]).await.unwrap();
    helm("helm3", "install", &old("mutt-operator"), &["--create-namespace", "--wait"]).await;
    let pipeline = Deployed::new(NAMESPACE).await;
    pipeline.apply_rule("old", "contains: OLD-1").await;
    pipeline.rule_active("old").await;
    let pods = pod_names().await;

    run("helm4", &["upgrade", "mutt-crds", "charts/mutt-crds"]).await.unwrap();
    helm("helm4", "upgrade", "charts/mutt-operator", &["--wait"]).await;
    let crd = get("default", "crd", "alertrules.mutt.dev").await.unwrap();
    assert!(
        crd["metadata"]["labels"]["helm.sh/chart"].as_str().is_some_and(|chart| !chart.contains("alpha")),
        "{crd:#}"
    );
    pipeline.ready().await;
    pipeline.apply_rule("new", "contains: NEW-1").await;
    pipeline.rule_active("new").await;
    assert_eq!(pod_names().await, pods, "the upgrade restarted workers");

    // Uninstalled: pipeline and rules stay, events still flow, and namespaces can be deleted.
    run("helm4", &["uninstall", "mutt-operator", "--namespace", "mutt-system", "--wait"]).await.unwrap();
    run("helm4", &["uninstall", "mutt-crds"]).await.unwrap();
    assert!(get(NAMESPACE, "muttpipeline", "core").await.is_some());
    pipeline.send("core-1", "NEW-1 without an operator").await;
    pipeline.alerted("NEW-1 without an operator").await;
    kubectl(&["delete", "namespace", "mutt-system", NAMESPACE, "--wait=true", "--timeout=3m"]).await;
    kubectl(&["delete", "crd", "muttpipelines.mutt.dev", "alertrules.mutt.dev", "--wait=true"]).await;
}

async fn helm(version: &str, command: &str, chart: &str, more: &[&str]) {
    let arguments = [&[command, "mutt-operator", chart][..], &OPERATOR, more].concat();
    run(version, &arguments).await.unwrap_or_else(|error| panic!("{error}"));
}

async fn pod_names() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for pod in list(NAMESPACE, "pods").await {
        if pod["status"]["phase"] == "Running" {
            names.push(pod["metadata"]["name"].as_str().unwrap().to_owned());
        }
    }
    names.sort_unstable();
    names
}
