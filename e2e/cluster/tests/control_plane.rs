//! The control plane on its own: what the operator's tests against the API server stand on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use mutt_cluster::{Binaries, ControlPlane, ControlPlaneOptions};
use serde_json::{Value, json};

/// How long a condition may take on a loaded machine before a test gives up.
const LIMIT: Duration = Duration::from_mins(2);

fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Output {
    let program = Binaries::cached().kubectl().unwrap();
    Command::new(program).arg("--kubeconfig").arg(kubeconfig).args(arguments).stdin(Stdio::null()).output().unwrap()
}

async fn create(cluster: &ControlPlane, path: &str, object: &Value) -> u16 {
    let url = format!("{}{path}", cluster.url());
    cluster.client().post(url).json(object).send().await.unwrap().status().as_u16()
}

async fn exists(cluster: &ControlPlane, path: &str) -> bool {
    cluster
        .client()
        .get(format!("{}{path}", cluster.url()))
        .send()
        .await
        .is_ok_and(|answer| answer.status().is_success())
}

async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < LIMIT, "not seen within {} s: {what}", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn kubectl_finds_the_version_that_was_built() {
    let cluster = ControlPlane::shared().await.unwrap();
    let output = kubectl(cluster.kubeconfig(), &["version", "--output=json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let versions: Value = serde_json::from_slice(&output.stdout).unwrap();
    let built = include_str!("../versions").lines().find_map(|line| line.strip_prefix("KUBERNETES=")).unwrap();
    assert_eq!(versions["serverVersion"]["gitVersion"], format!("v{built}"));
}

#[tokio::test]
async fn a_user_may_do_what_a_role_grants_and_nothing_else() {
    let cluster = ControlPlane::shared().await.unwrap();
    let user = "somebody";
    let kubeconfig = cluster.kubeconfig_of(user, None).unwrap();
    let refused = kubectl(&kubeconfig, &["get", "configmaps"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Forbidden"), "{refused:?}");
    // Roles like `edit` are put together by the controller manager and are empty here.
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({
        "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": { "name": user },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create"] }],
    });
    assert_eq!(create(cluster, &format!("/apis/{rbac}/v1/clusterroles"), &role).await, 201);
    let binding = json!({
        "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": user },
        "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": user },
        "subjects": [{ "apiGroup": rbac, "kind": "User", "name": user }],
    });
    assert_eq!(create(cluster, &format!("/apis/{rbac}/v1/clusterrolebindings"), &binding).await, 201);
    // The authorizer learns of roles by a watch.
    eventually("the role", async || kubectl(&kubeconfig, &["get", "configmaps"]).status.success()).await;

    // OwnerReferencesPermissionEnforcement: the role has no `namespaces/finalizers`.
    let owner = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "owner" } });
    assert_eq!(create(cluster, "/api/v1/namespaces", &owner).await, 201);
    let path = std::env::temp_dir().join(format!("mutt-cluster-owned-{}.json", std::process::id()));
    let dependent = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "owned", "ownerReferences": [
        { "apiVersion": "v1", "kind": "Namespace", "name": "owner", "uid": "1", "blockOwnerDeletion": true },
    ] } });
    std::fs::write(&path, dependent.to_string()).unwrap();
    let refused = kubectl(&kubeconfig, &["create", "-f", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("blockOwnerDeletion"), "{refused:?}");
}

#[tokio::test]
async fn objects_survive_the_api_server() {
    let mut cluster = ControlPlane::start().await.unwrap();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "kept" } });
    assert_eq!(create(&cluster, "/api/v1/namespaces", &namespace).await, 201);
    cluster.stop_api_server().unwrap();
    assert!(!exists(&cluster, "/api/v1/namespaces/kept").await);
    cluster.start_api_server().await.unwrap();
    assert!(exists(&cluster, "/api/v1/namespaces/kept").await);
}

#[tokio::test]
async fn the_controller_manager_makes_service_accounts_and_replica_sets() {
    let options = ControlPlaneOptions::new().controller_manager().scheduler().feature_gate("HPAScaleToZero", true);
    let cluster = options.start().await.unwrap();
    eventually("service account", async || {
        exists(&cluster, "/api/v1/namespaces/default/serviceaccounts/default").await
    })
    .await;
    let output = kubectl(cluster.kubeconfig(), &["create", "deployment", "sleeper", "--image=localhost/none"]);
    assert!(output.status.success(), "{output:?}");
    // Without a node the scheduler can only say that there is none.
    let arguments = ["get", "pods", "-o", "jsonpath={.items[*].status.conditions[*].reason}"];
    eventually("a pod that no node takes", async || {
        String::from_utf8_lossy(&kubectl(cluster.kubeconfig(), &arguments).stdout).contains("Unschedulable")
    })
    .await;
}
