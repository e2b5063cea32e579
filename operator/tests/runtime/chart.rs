//! The operator as the chart `mutt-operator` runs it: with its arguments and the rights of its roles.

use std::path::Path;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use mutt_cluster::ControlPlane;
use rustix::process::Signal;
use serde_json::json;

use super::{
    api::install,
    client,
    operator::{Operator, command},
    render::{ACCOUNT, apply_roles, in_pod, of_deployment, rendered},
};

const NAMESPACE: &str = "mutt-system";
/// Rights only in some namespaces first: what the second case grants in all of them would hide what is missing there.
const CASES: [&str; 2] = ["namespaces", "default"];

#[tokio::test]
async fn the_operator_works_with_the_arguments_and_the_rights_of_its_chart() {
    let cluster = ControlPlane::start().await.unwrap();
    let admin = client(cluster.kubeconfig(), None).await;
    install(&admin).await;
    for name in [NAMESPACE, "netops", "lab"] {
        namespace(&admin, name).await;
    }
    let kubeconfig = cluster.kubeconfig_of(ACCOUNT, Some("system:serviceaccounts")).unwrap();
    for case in CASES {
        let objects = rendered(case);
        apply_roles(&admin, &objects).await;
        let mut operator = Operator::start(&kubeconfig, &of_deployment(&objects));
        operator.leads().await;
        operator.answers("/ready", 200, "ready").await;
        let asked = check(&kubeconfig, &in_pod(&objects, "Pod", "/spec/containers/0/args")).await;
        assert!(asked.contains("leader: ") && asked.contains("AlertRule: readable in "), "{case}: {asked}");
        operator.signal(Signal::TERM);
        operator.ends_with(0).await;
        let log = operator.log();
        assert!(!log.to_lowercase().contains("forbidden"), "{case}: a right is missing:\n{log}");
    }
}

async fn namespace(client: &Client, name: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch(name, &PatchParams::apply("test"), &Patch::Apply(namespace)).await.unwrap();
}

/// What `--check` prints, as `helm test` runs it.
async fn check(kubeconfig: &Path, flags: &[&str]) -> String {
    let mut command = command(kubeconfig);
    command.args(flags);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "--check: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
