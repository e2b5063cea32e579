//! The chart `mutt-operator` as rendered: the committed renders of `e2e/tests/charts/golden` are what Helm makes of it; a test
//! there compares.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::Value;

/// The chart's ServiceAccount, as the API server names it.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:mutt-system:mutt-operator";

/// The objects of a committed render.
pub(crate) fn rendered(case: &str) -> Vec<Value> {
    let path = format!("{}/../e2e/tests/charts/golden/mutt-operator-{case}.yaml", env!("CARGO_MANIFEST_DIR"));
    let stream = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let documents = stream.split("---\n").filter(|text| text.contains("kind: "));
    documents.map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

/// The arguments of the container in the Deployment.
pub(crate) fn of_deployment(objects: &[Value]) -> Vec<&str> {
    in_pod(objects, "Deployment", "/spec/template/spec/containers/0/args")
}

/// The arguments at `pointer` in the first object of a kind, and what the downward API gives; the ports are the test's.
pub(crate) fn in_pod<'a>(objects: &'a [Value], kind: &str, pointer: &str) -> Vec<&'a str> {
    let object = objects.iter().find(|object| object["kind"] == kind).unwrap();
    let given = object.pointer(pointer).unwrap().as_array().unwrap();
    let port = |flag: &&str| flag.starts_with("--http-port=") || flag.starts_with("--external-metrics-port=");
    let given = given.iter().map(|flag| flag.as_str().unwrap()).filter(|flag| !port(flag));
    given.chain(["--external-metrics-port=0", "--pod-name=operator-0", "--pod-namespace=mutt-system"]).collect()
}

/// Applies the roles and their bindings.
pub(crate) async fn apply_roles(client: &Client, objects: &[Value]) {
    for object in objects.iter().filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1") {
        let kind = object["kind"].as_str().unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind));
        let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
    }
}
