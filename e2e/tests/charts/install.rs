//! The charts in a real API server: what an upgrade changes, and what an uninstall leaves.

use std::fs;
use std::path::Path;

use mutt_cluster::{ControlPlane, ControlPlaneOptions};
use mutt_e2e::{eventually, repository};
use serde_json::json;

use crate::cases;
use crate::helm::{Helm, chart_path, text};
use crate::kubectl::Kubectl;

const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// Each Helm alone, and Helm 4 on a release of Helm 3's; every pass finds the definitions that the one before has left.
#[tokio::test(flavor = "multi_thread")]
async fn charts_install_upgrade_and_uninstall() {
    let plane = ControlPlaneOptions::new().controller_manager().start().await.unwrap();
    let kubectl = Kubectl::new(plane.kubeconfig());
    let [three, four] = Helm::both();
    for (first, second) in [(&three, &three), (&three, &four), (&four, &four)] {
        let site = |helm| Site { helm, plane: &plane, kubectl: &kubectl };
        site(first).install_the_release_before();
        site(second).upgrade();
        site(second).uninstall().await;
    }
}

struct Site<'a> {
    helm: &'a Helm,
    plane: &'a ControlPlane,
    kubectl: &'a Kubectl,
}

impl Site<'_> {
    fn helm(&self, arguments: &[&str]) {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--kubeconfig", text(self.plane.kubeconfig())]);
        self.helm.stdout(&arguments);
    }

    /// Definitions that lack a field and a column, the operator, a pipeline with rules.
    fn install_the_release_before(&self) {
        let older = tempfile::tempdir().unwrap();
        older_definitions(older.path());
        // --wait: until the API server serves both kinds.
        let definitions =
            ["install", "mutt-crds", text(older.path()), "--namespace", "mutt-system", "--create-namespace"];
        self.helm(&[&definitions[..], &["--wait"]].concat());
        assert!(!self.definition().contains("imagePullPolicy"), "{}: the older definitions", self.helm.name);
        self.helm(&["install", "mutt-operator", text(&chart_path("mutt-operator")), "--namespace", "mutt-system"]);
        let example = repository().join("charts/mutt-pipeline/examples/core-values.yaml");
        let chart = chart_path("mutt-pipeline");
        let pipeline = ["install", "core", text(&chart), "--namespace", "netops", "--create-namespace"];
        self.helm(&[&pipeline[..], &["--values", text(&example)]].concat());
        assert!(self.kubectl.get("netops", "muttpipeline/core").is_some());
        assert!(self.kubectl.get("netops", "alertrule/bgp-neighbor-down").is_some());
    }

    fn upgrade(&self) {
        self.helm(&["upgrade", "mutt-crds", text(&chart_path("mutt-crds")), "--namespace", "mutt-system"]);
        assert!(self.definition().contains("imagePullPolicy"), "{}: definitions are upgraded", self.helm.name);
        let chart = chart_path("mutt-operator");
        let operator = ["upgrade", "mutt-operator", text(&chart), "--namespace", "mutt-system", "--set", "replicas=3"];
        self.helm(&operator);
        let deployment = self.kubectl.get("mutt-system", "deployment/mutt-operator").unwrap();
        assert_eq!(deployment["spec"]["replicas"], 3);
        // A rule taken out of the values goes, the others stay.
        let example = fs::read_to_string(repository().join("charts/mutt-pipeline/examples/core-values.yaml")).unwrap();
        let mut values = cases::documents(&example).remove(0);
        values["rules"].as_object_mut().unwrap().remove("bgp-neighbor-down").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), values.to_string()).unwrap();
        let chart = chart_path("mutt-pipeline");
        self.helm(&["upgrade", "core", text(&chart), "--namespace", "netops", "--values", text(file.path())]);
        assert!(self.kubectl.get("netops", "alertrule/bgp-neighbor-down").is_none());
        assert!(self.kubectl.get("netops", "alertrule/link-down-trap").is_some());
    }

    /// The APIService as the operator makes it: owned by a ClusterRole of the chart. Nobody serves it here, as after an uninstall.
    fn claim_external_metrics(&self) {
        let role = self.kubectl.get("default", "clusterrole/mutt-operator-external-metrics").unwrap();
        let service = json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": API_SERVICE, "ownerReferences": [{
                "apiVersion": role["apiVersion"], "kind": role["kind"],
                "name": role["metadata"]["name"], "uid": role["metadata"]["uid"],
            }]},
            "spec": {
                "group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"namespace": "mutt-system", "name": "mutt-operator-external-metrics"},
            },
        });
        self.kubectl.run(&["apply", "--server-side", "--filename", "-"], &service.to_string());
    }

    /// Without operator and definitions' release the objects stay, and nothing keeps their namespace from going.
    async fn uninstall(&self) {
        self.claim_external_metrics();
        self.helm(&["uninstall", "mutt-operator", "--namespace", "mutt-system"]);
        self.helm(&["uninstall", "mutt-crds", "--namespace", "mutt-system"]);
        assert!(self.kubectl.get("netops", "muttpipeline/core").is_some(), "{}", self.helm.name);
        assert!(self.kubectl.get("netops", "alertrule/link-down-trap").is_some(), "{}", self.helm.name);
        assert!(self.kubectl.get("mutt-system", "deployment/mutt-operator").is_none(), "{}", self.helm.name);
        let claimed = format!("apiservice/{API_SERVICE}");
        eventually("the APIService is gone", async || self.kubectl.get("default", &claimed).is_none()).await;
        self.kubectl.run(&["delete", "namespace", "netops", "mutt-system", "--wait=false"], "");
        eventually("both namespaces are gone", async || {
            ["netops", "mutt-system"]
                .iter()
                .all(|name| self.kubectl.get("default", &format!("namespace/{name}")).is_none())
        })
        .await;
    }

    fn definition(&self) -> String {
        self.kubectl.get("default", "crd/muttpipelines.mutt.dev").unwrap().to_string()
    }
}

/// The chart of definitions as an earlier release might have had it: without `imagePullPolicy` and the column `Reason`.
fn older_definitions(folder: &Path) {
    let chart = chart_path("mutt-crds");
    fs::create_dir(folder.join("templates")).unwrap();
    for name in
        ["Chart.yaml", "values.yaml", "values.schema.json", "templates/_helpers.tpl", "templates/alertrules.yaml"]
    {
        fs::copy(chart.join(name), folder.join(name)).unwrap();
    }
    let generated = fs::read_to_string(repository().join("crds/generated/muttpipelines.yaml")).unwrap();
    let mut definition = cases::documents(&generated).remove(0);
    let version = &mut definition["spec"]["versions"][0];
    version["additionalPrinterColumns"].as_array_mut().unwrap().retain(|column| column["name"] != "Reason");
    let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    assert!(spec.as_object_mut().unwrap().remove("imagePullPolicy").is_some());
    definition["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
    // JSON is YAML; what looks like a template in it must not be taken for one.
    let template = definition.to_string().replace("{{", "{{ \"{{\" }}");
    fs::write(folder.join("templates/muttpipelines.yaml"), template).unwrap();
}
