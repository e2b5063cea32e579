//! The files of everything built are objects that a real API server takes, and their pods are restricted enough.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use mutt_operator::pipeline::kinds::ChildKind;
use serde_json::{Value, json};

use super::harness::Site;

/// `tests/golden/*/children.yaml`.
fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// The objects of a case, moved into the site's namespace.
fn objects(site: &Site, case: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(case.join("children.yaml")).unwrap();
    // The part before the first object is a comment.
    let parts = text.split("\n---\n").skip(1);
    let mut objects: Vec<Value> = parts.map(|object| serde_saphyr::from_str(object).expect("YAML")).collect();
    for object in &mut objects {
        object["metadata"]["namespace"] = site.namespace.clone().into();
    }
    objects
}

fn kind_of(object: &Value) -> ChildKind {
    let kind = ChildKind::ALL.iter().find(|kind| object["kind"] == kind.resource().kind.as_str());
    *kind.unwrap_or_else(|| panic!("{} is no kind of child", object["kind"]))
}

#[tokio::test]
async fn what_is_built_is_taken_without_an_unknown_field() {
    let site = Site::new("golden-taken").await;
    let params = PatchParams { dry_run: true, ..PatchParams::apply("golden").validation_strict() };
    for case in cases() {
        // Of optional kinds the API server knows no fields here.
        for object in objects(&site, &case).into_iter().filter(|object| !kind_of(object).is_optional()) {
            let name = object["metadata"]["name"].as_str().unwrap();
            let answer = site.children(kind_of(&object)).patch(name, &params, &Patch::Apply(&object)).await;
            assert!(answer.is_ok(), "{}: {} {name}: {answer:?}", case.display(), object["kind"]);
        }
    }
}

#[tokio::test]
async fn their_pods_are_restricted() {
    let site = Site::new("golden-restricted").await;
    let enforce = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(site.client.clone());
    namespaces.patch(&site.namespace, &PatchParams::default(), &Patch::Merge(enforce)).await.unwrap();
    let mut asked = 0;
    for case in cases() {
        for object in objects(&site, &case) {
            let mut pod = match object["kind"].as_str().unwrap() {
                "ServiceAccount" => {
                    let name = object["metadata"]["name"].as_str().unwrap();
                    let apply = PatchParams::apply("golden").force();
                    let account: DynamicObject = serde_json::from_value(object.clone()).unwrap();
                    site.api::<ServiceAccount>().patch(name, &apply, &Patch::Apply(&account)).await.unwrap();
                    continue;
                }
                "Deployment" | "Job" => object["spec"]["template"].clone(),
                "CronJob" => object["spec"]["jobTemplate"]["spec"]["template"].clone(),
                _ => continue,
            };
            pod["metadata"]["name"] = "golden".into();
            // That class is none of this cluster's.
            pod["spec"].as_object_mut().unwrap().remove("priorityClassName");
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let params = PostParams { dry_run: true, ..PostParams::default() };
            let answer = site.api::<Pod>().create(&params, &pod).await;
            assert!(
                answer.is_ok(),
                "{}: {} {}: {answer:?}",
                case.display(),
                object["kind"],
                object["metadata"]["name"]
            );
            asked += 1;
        }
    }
    assert!(asked >= 30, "{asked} pods asked for");
}
