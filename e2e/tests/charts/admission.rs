//! The charts' objects before a real API server: it takes every one, and gives the operator the rights it needs and no more.

use mutt_cluster::ControlPlane;
use mutt_e2e::{eventually, repository};
use serde_json::{Value, json};

use crate::cases;
use crate::helm::{Helm, rendered, text};
use crate::kubectl::{Access, Kubectl};

/// Definitions of ours and of others that the charts' objects need; waits until they are served.
pub(crate) async fn define(kubectl: &Kubectl) {
    for folder in ["crds/generated", "e2e/testdata/crds"] {
        let folder = repository().join(folder);
        kubectl.run(&["apply", "--server-side", "--force-conflicts", "--filename", text(&folder)], "");
    }
    let own = ["muttpipelines", "alertrules"];
    for kind in own.into_iter().chain(["routes", "servicemonitors", "prometheusrules", "certificates", "issuers"]) {
        eventually(&format!("{kind} are served"), async || kubectl.output(&["get", kind], "").status.success()).await;
    }
}

pub(crate) fn namespace(kubectl: &Kubectl, name: &str) {
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    kubectl.run(&["apply", "--server-side", "--filename", "-"], &namespace.to_string());
}

/// The account that a pod names; without it, admission refuses the pod, and this control plane runs no controller that makes any.
fn account(kubectl: &Kubectl, pod: &Value) {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": pod["spec"]["serviceAccountName"], "namespace": pod["metadata"]["namespace"]},
    });
    kubectl.run(&["apply", "--server-side", "--force-conflicts", "--filename", "-"], &account.to_string());
}

/// Every case with every field checked, pods under the "restricted" standard.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_case_and_the_restricted_standard_its_pods() {
    let plane = ControlPlane::shared().await.unwrap();
    let kubectl = Kubectl::new(plane.kubeconfig());
    define(&kubectl).await;
    for name in ["mutt-system", "netops", "lab"] {
        namespace(&kubectl, name);
    }
    let helm = Helm::new("helm4");
    for case in cases::all() {
        let more = case.values.as_deref().map(|path| vec!["--values", text(path)]).unwrap_or_default();
        let stream = rendered(helm.template(case.release, case.chart, case.namespace, &more), &case.name);
        for document in cases::documents(&stream).iter().flat_map(with_pod) {
            if document["kind"] == "Pod" {
                account(&kubectl, &document);
            }
            let output = kubectl.output(
                &[
                    "apply",
                    "--server-side",
                    "--dry-run=server",
                    "--validate=strict",
                    "--force-conflicts",
                    "--filename",
                    "-",
                ],
                &document.to_string(),
            );
            let failed = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {failed}\n{document}", case.name);
        }
    }
}

/// `manifests/samples/rules`, as `kubectl apply` takes them; the pipeline beside them is for `mutt dev` alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_sample_rule() {
    let plane = ControlPlane::shared().await.unwrap();
    let kubectl = Kubectl::new(plane.kubeconfig());
    define(&kubectl).await;
    namespace(&kubectl, "netops");
    let samples = repository().join("manifests/samples/rules");
    let arguments =
        ["apply", "--dry-run=server", "--validate=strict", "--selector", "pipeline=core", "--output", "name"];
    let taken = kubectl.run(&[&arguments[..], &["--filename", text(&samples)]].concat(), "");
    let files =
        std::fs::read_dir(&samples).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() != "pipeline.yaml");
    assert_eq!(taken.lines().count(), files.count(), "{taken}");
}

/// A document, and the pod that a Deployment would make.
fn with_pod(document: &Value) -> Vec<Value> {
    let mut documents = vec![document.clone()];
    if document["kind"] == "Deployment" {
        let mut pod = document["spec"]["template"].clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = "pod-of-the-deployment".into();
        pod["metadata"]["namespace"] = document["metadata"]["namespace"].clone();
        documents.push(pod);
    }
    documents
}

/// What a pipeline's children are made of.
const CHILDREN: &[&str] = &[
    "serviceaccounts",
    "services",
    "configmaps",
    "deployments.apps",
    "jobs.batch",
    "cronjobs.batch",
    "horizontalpodautoscalers.autoscaling",
    "scaledobjects.keda.sh",
    "poddisruptionbudgets.policy",
    "networkpolicies.networking.k8s.io",
    "ingresses.networking.k8s.io",
    "routes.route.openshift.io",
    "servicemonitors.monitoring.coreos.com",
    "prometheusrules.monitoring.coreos.com",
];

const GRANTED: &[(&str, &str)] = &[
    ("list", "muttpipelines.mutt.dev"),
    ("watch", "muttpipelines.mutt.dev"),
    ("patch", "muttpipelines.mutt.dev/status"),
    ("update", "muttpipelines.mutt.dev/finalizers"),
    ("list", "alertrules.mutt.dev"),
    ("watch", "alertrules.mutt.dev"),
    ("patch", "alertrules.mutt.dev/status"),
    ("update", "alertrules.mutt.dev/finalizers"),
    ("get", "secrets"),
    ("list", "pods"),
    ("create", "events.events.k8s.io"),
    ("create", "routes.route.openshift.io/custom-host"),
    ("update", "routes.route.openshift.io/custom-host"),
];

const REFUSED: &[(&str, &str)] = &[
    ("list", "secrets"),
    ("watch", "secrets"),
    ("create", "secrets"),
    ("patch", "secrets"),
    ("delete", "secrets"),
    ("create", "muttpipelines.mutt.dev"),
    ("update", "muttpipelines.mutt.dev"),
    ("patch", "muttpipelines.mutt.dev"),
    ("delete", "muttpipelines.mutt.dev"),
    ("patch", "alertrules.mutt.dev"),
    ("delete", "alertrules.mutt.dev"),
    ("create", "pods"),
    ("watch", "pods"),
    ("delete", "pods"),
    ("create", "pods/exec"),
    ("get", "pods/log"),
    ("create", "serviceaccounts/token"),
    ("deletecollection", "configmaps"),
    ("create", "roles.rbac.authorization.k8s.io"),
    ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("create", "namespaces"),
    ("get", "nodes"),
    ("impersonate", "users"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_do_its_work_and_no_more() {
    let plane = ControlPlane::shared().await.unwrap();
    let admin = Kubectl::new(plane.kubeconfig());
    define(&admin).await;
    let helm = Helm::new("helm4");
    for (system, served) in [("rights-all", &[][..]), ("rights-two", &["rights-a", "rights-b"])] {
        namespace(&admin, system);
        for name in served {
            namespace(&admin, name);
        }
        let name = format!("fullnameOverride={system}");
        let namespaces = format!("watchNamespaces={}", json!(served));
        let more = ["--set", &name, "--set-json", &namespaces];
        let stream = rendered(helm.template("mutt-operator", "mutt-operator", system, &more), system);
        let roles: Vec<_> = cases::documents(&stream)
            .into_iter()
            .filter(|document| document["apiVersion"] == "rbac.authorization.k8s.io/v1")
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": roles});
        admin.run(&["apply", "--server-side", "--filename", "-"], &list.to_string());
        let user = format!("system:serviceaccount:{system}:{system}");
        let operator = Kubectl::new(&plane.kubeconfig_of(&user, Some("system:serviceaccounts")).unwrap());
        let places = if served.is_empty() { vec![None] } else { served.iter().copied().map(Some).collect() };
        check(&operator, system, &granted(system, served, &places), true);
        check(&operator, system, &refused(system, served, &places), false);
    }
}

fn check(operator: &Kubectl, case: &str, asked: &[Access<'_>], expected: bool) {
    let answers = operator.may(asked);
    assert_eq!(answers.len(), asked.len());
    let wrong: Vec<_> =
        asked.iter().zip(answers).filter(|(_, answer)| *answer != expected).map(|(access, _)| access).collect();
    assert!(wrong.is_empty(), "{case}: should be {expected}: {wrong:#?}");
}

const API_SERVICES: &str = "apiservices.apiregistration.k8s.io";
const OUR_API: &str = "v1beta1.external.metrics.k8s.io";
const LEASES: &str = "leases.coordination.k8s.io";

fn granted<'a>(system: &'a str, served: &[&'a str], places: &[Option<&'a str>]) -> Vec<Access<'a>> {
    let mut all = Vec::new();
    for &namespace in places {
        let mut add = |verb, resource| all.push(Access { verb, resource, name: "", namespace });
        for child in CHILDREN {
            for verb in ["get", "list", "watch", "create", "patch", "delete"] {
                add(verb, child);
            }
        }
        for (verb, resource) in GRANTED {
            add(verb, resource);
        }
    }
    let namespace = Some(system);
    all.push(Access { verb: "create", resource: LEASES, name: "", namespace });
    all.extend(["get", "update"].map(|verb| Access { verb, resource: LEASES, name: system, namespace }));
    if served.is_empty() {
        all.extend(["list", "watch"].map(|verb| Access { verb, resource: "namespaces", name: "", namespace: None }));
        all.push(Access { verb: "create", resource: API_SERVICES, name: "", namespace: None });
        let verbs = ["list", "watch", "patch", "delete"];
        all.extend(verbs.map(|verb| Access { verb, resource: API_SERVICES, name: OUR_API, namespace: None }));
    }
    all.extend(served.iter().map(|&name| Access { verb: "get", resource: "namespaces", name, namespace: Some(name) }));
    all
}

fn refused<'a>(system: &'a str, served: &[&'a str], places: &[Option<&'a str>]) -> Vec<Access<'a>> {
    let mut all = Vec::new();
    for &namespace in places {
        all.extend(REFUSED.iter().map(|&(verb, resource)| Access { verb, resource, name: "", namespace }));
    }
    let namespace = Some(system);
    all.push(Access { verb: "create", resource: LEASES, name: "", namespace: Some("kube-system") });
    all.push(Access { verb: "list", resource: LEASES, name: "", namespace });
    all.push(Access { verb: "update", resource: LEASES, name: "another", namespace });
    all.push(Access { verb: "update", resource: "secrets", name: "another", namespace });
    for verb in ["list", "watch", "patch", "delete"] {
        all.push(Access { verb, resource: API_SERVICES, name: "v1beta1.metrics.k8s.io", namespace: None });
    }
    if !served.is_empty() {
        let elsewhere = [("get", "secrets"), ("list", "muttpipelines.mutt.dev"), ("list", "namespaces")];
        for namespace in [None, Some("default"), Some(system)] {
            all.extend(elsewhere.map(|(verb, resource)| Access { verb, resource, name: "", namespace }));
        }
    }
    all
}
