//! The operator as the chart `mutt-operator` runs it: with its arguments and the rights of its roles. The committed renders of
//! `e2e/tests/charts/golden` are what Helm makes of the chart; a test there compares.

use std::path::Path;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use mutt_cluster::ControlPlane;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    client,
    operator::{Operator, command},
    process::install,
};

const NAMESPACE: &str = "mutt-system";
const ACCOUNT: &str = "system:serviceaccount:mutt-system:mutt-operator";
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
        for role in objects.iter().filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1") {
            apply_role(&admin, role).await;
        }
        let arguments = arguments(&objects, "Deployment", "/spec/template/spec/containers/0/args");
        let mut operator = Operator::start(&kubeconfig, &in_pod(&arguments));
        operator.leads().await;
        operator.answers("/ready", 200, "ready").await;
        let asked = check(&kubeconfig, &in_pod(&self::arguments(&objects, "Pod", "/spec/containers/0/args"))).await;
        assert!(asked.contains("leader: ") && asked.contains("AlertRule: readable in "), "{case}: {asked}");
        operator.signal(Signal::TERM);
        operator.ends_with(0).await;
        let log = operator.log();
        assert!(!log.to_lowercase().contains("forbidden"), "{case}: a right is missing:\n{log}");
    }
}

/// The objects of a committed render.
fn rendered(case: &str) -> Vec<Value> {
    let path = format!("{}/../e2e/tests/charts/golden/mutt-operator-{case}.yaml", env!("CARGO_MANIFEST_DIR"));
    let stream = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    stream
        .split("---\n")
        .filter(|text| text.contains("kind: "))
        .map(|text| serde_saphyr::from_str(text).unwrap())
        .collect()
}

fn arguments(objects: &[Value], kind: &str, pointer: &str) -> Vec<String> {
    let object = objects.iter().find(|object| object["kind"] == kind).unwrap();
    serde_json::from_value(object.pointer(pointer).unwrap().clone()).unwrap()
}

/// The chart's arguments and what the downward API gives; the port is the test's.
fn in_pod(arguments: &[String]) -> Vec<&str> {
    let mut all: Vec<_> =
        arguments.iter().map(String::as_str).filter(|flag| !flag.starts_with("--http-port=")).collect();
    all.extend(["--pod-name=operator-0", "--pod-namespace=mutt-system"]);
    all
}

async fn apply_role(client: &Client, object: &Value) {
    let kind = object["kind"].as_str().unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind));
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
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
