//! The workers' image runs as OpenShift runs images: any user id in group 0, nothing writable, no capabilities.

use crate::{
    REGISTRY,
    kubectl::{apply, kubectl},
};

const NAMESPACE: &str = "images";

#[tokio::test]
async fn the_worker_image_runs_under_any_user_id() {
    let version = env!("CARGO_PKG_VERSION");
    apply(&format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: version, namespace: {NAMESPACE}}}
spec:
  template:
    spec:
      restartPolicy: OnFailure
      automountServiceAccountToken: false
      securityContext: {{runAsNonRoot: true, runAsUser: 1000660000, runAsGroup: 0, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: version
          image: {REGISTRY}/mutt-worker:{version}
          args: [\"--version\"]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
"
    ))
    .await;
    kubectl(&["-n", NAMESPACE, "wait", "--for=condition=Complete", "job/version", "--timeout=2m"]).await;
    assert_eq!(kubectl(&["-n", NAMESPACE, "logs", "job/version"]).await.trim(), format!("mutt {version}"));
    kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]).await;
}
