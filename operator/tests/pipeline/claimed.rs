//! The pipelines and the claim on `external.metrics.k8s.io` together: what one says makes the other act, and both come to rest.

use std::time::Duration;

use k8s_openapi::{
    api::{core::v1::Namespace, rbac::v1::ClusterRole},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use mutt_cluster::ControlPlane;
use mutt_crds::MuttPipeline;
use mutt_operator::{
    external_metrics::{Standing, certificate, claim},
    runtime::{Shutdown, shutdown::ShutdownTrigger},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    api::install,
    autoscaling::{autoscaled, looks_at},
    harness::{Operator, Site, admin, eventually},
    steady::looked_at_again,
};

const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
const OWNER: &str = "operator-external-metrics";
const FLAGS: [&str; 2] = [
    "--external-metrics-service=operator-external-metrics",
    "--external-metrics-cluster-role=operator-external-metrics",
];

/// Namespace and ClusterRole of an installation.
async fn installation(client: &Client) {
    let object = |name: &str| json!({"metadata": {"name": name}});
    let namespace = serde_json::from_value(object("mutt-system")).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let owner = serde_json::from_value(object(OWNER)).unwrap();
    Api::<ClusterRole>::all(client.clone()).create(&PostParams::default(), &owner).await.unwrap();
}

/// The half of the operator that takes the API and gives it up.
fn claims(operator: &Operator) -> (ShutdownTrigger, JoinSet<()>) {
    let (end, ended) = Shutdown::channel();
    let (certificates, claims) = (operator.context.clone(), operator.context.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { certificate::keep(certificates).await.unwrap() });
    let pace = claim::Pace { release_after: Duration::ZERO, ..claim::Pace::default() };
    tasks.spawn(async move { claim::run_at(claims, ended, pace).await.unwrap() });
    (end, tasks)
}

/// Nobody may make the APIService.
async fn forbid(client: &Client) {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "no-adapter"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apiregistration.k8s.io"], "apiVersions": ["v1"], "resources": ["apiservices"], "operations": ["CREATE"],
            }]},
            "validations": [{"expression": format!("object.metadata.name != '{API_SERVICE}'"), "message": "denied by the test"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "no-adapter"},
        "spec": {"policyName": "no-adapter", "validationActions": ["Deny"]},
    });
    for object in [policy, binding] {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", object["kind"].as_str().unwrap());
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        api.patch("no-adapter", &PatchParams::apply("test"), &Patch::Apply(&object)).await.unwrap();
    }
    let services: Api<APIService> = Api::all(client.clone());
    let object: Value = json!({"metadata": {"name": API_SERVICE}, "spec": {
        "group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
        "service": {"namespace": "a", "name": "a"}, "insecureSkipTLSVerify": true,
    }});
    let object: APIService = serde_json::from_value(object).unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually("the policy is obeyed", async || services.create(&dry, &object).await.err().map(drop)).await;
}

#[tokio::test]
async fn the_api_is_taken_for_a_pipeline_and_a_refusal_comes_to_rest() {
    let cluster = ControlPlane::start().await.unwrap();
    let client = admin(&cluster).await;
    install(&client).await;
    installation(&client).await;
    let site = Site::within(&cluster, "claimed").await;
    let operator = Operator::start_with(cluster.kubeconfig(), &FLAGS).await;
    operator.context.external_metrics.set_standing(Standing::Unknown);
    let claiming = claims(&operator);
    site.pipeline("core", &autoscaled("Auto", 2)).await;
    looks_at(&site, &["mutt_queue_depth"]).await;
    let services: Api<APIService> = Api::all(client.clone());
    eventually("it is taken", async || services.get_opt(API_SERVICE).await.unwrap()).await;
    site.api::<MuttPipeline>().delete("core", &DeleteParams::default()).await.unwrap();
    eventually("it is given up", async || services.get_opt(API_SERVICE).await.unwrap().is_none().then_some(())).await;
    drop(claiming);
    operator.stop().await;

    forbid(&client).await;
    let site = Site::within(&cluster, "refused").await;
    let operator = Operator::start_with(cluster.kubeconfig(), &FLAGS).await;
    operator.context.external_metrics.set_standing(Standing::Unknown);
    let claiming = claims(&operator);
    site.pipeline("core", &autoscaled("Auto", 2)).await;
    looks_at(&site, &["cpu"]).await;
    looked_at_again(&site, &operator, 1).await;
    let writes = operator.writes();
    for number in 2..=4 {
        looked_at_again(&site, &operator, number).await;
    }
    assert_eq!(operator.writes(), writes, "what was refused is left alone for a while");
    looks_at(&site, &["cpu"]).await;
    drop(claiming);
    operator.stop().await;
}
