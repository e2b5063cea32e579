//! As it is used: behind an APIService, asked by kubectl and by the controller of HorizontalPodAutoscalers.

use std::{path::Path, process::Stdio, time::Duration};

use k8s_openapi::{
    api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Api, Client};
use mutt_cluster::Binaries;
use mutt_operator::external_metrics::queues::Limits;
use mutt_servers::RedisServer;
use serde_json::{Value, json};

use super::site::{
    Server, accept, address, admin, apply, cluster, eventually, make_namespace, make_pipeline, path, values,
};

const NAMESPACE: &str = "aggregated";
const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// Output and success of kubectl. The server runs in this thread, which must not be held up.
async fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = tokio::process::Command::new(Binaries::cached().kubectl().unwrap());
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Service, endpoints and APIService, as the chart and the claim make them.
async fn publish(client: &Client, server: &Server) {
    let metadata = json!({"name": "mutt-metrics", "namespace": NAMESPACE});
    let port = json!({"name": "https", "port": 443, "targetPort": server.port});
    apply(client, &json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [port]}}))
        .await;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "mutt-metrics-1", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": "mutt-metrics"}},
        "ports": [{"name": "https", "port": server.port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address().to_string()], "conditions": {"ready": true}}],
    });
    apply(client, &slice).await;
    let bundle = k8s_openapi::ByteString(server.authority.pem.clone().into_bytes());
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": API_SERVICE},
        "spec": {
            "group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "service": {"name": "mutt-metrics", "namespace": NAMESPACE}, "caBundle": bundle,
        },
    });
    apply(client, &service).await;
    let services: Api<APIService> = Api::all(client.clone());
    eventually(async || {
        let status = services.get(API_SERVICE).await.unwrap().status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let is_available = conditions.iter().any(|is| is.type_ == "Available" && is.status == "True");
        if is_available { Ok(()) } else { Err(format!("{conditions:?}")) }
    })
    .await;
}

/// A Deployment, an HPA that wants two events a pod, and the right that the chart grants to the HPA controller.
async fn make_autoscaler(client: &Client) {
    let labels = json!({"app": "alerter"});
    let template =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "localhost/none"}]}});
    let rbac = "rbac.authorization.k8s.io";
    for object in [
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "alerter", "namespace": NAMESPACE},
               "spec": {"selector": {"matchLabels": labels}, "template": template}}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": "external-metrics"},
               "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}]}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "external-metrics"},
               "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "external-metrics"},
               "subjects": [{"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}]}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "alerter", "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "alerter"},
            "minReplicas": 1, "maxReplicas": 9,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "mutt_queue_depth", "selector": {"matchLabels": {"pipeline": "core", "queue": "ingest"}}},
                "target": {"type": "AverageValue", "averageValue": "2"},
            }}],
        }}),
    ] {
        apply(client, &object).await;
    }
}

#[tokio::test]
async fn kubectl_and_the_hpa_controller_ask_through_the_api_server() {
    let (cluster, client) = (cluster().await, admin().await);
    let redis = RedisServer::start().await.unwrap();
    make_namespace(&client, NAMESPACE).await;
    make_pipeline(&client, NAMESPACE, "core", &redis, None).await;
    accept(&redis, NAMESPACE, "core", 10).await;
    let limits = Limits { hold: Duration::ZERO, ..Limits::default() };
    let server = Server::start(client.clone(), "mutt-metrics", NAMESPACE, limits).await;
    server.ready().await;
    publish(&client, &server).await;

    let raw = async |path: &str| kubectl(cluster.kubeconfig(), &["get", "--raw", path]).await;
    let list = eventually(async || raw(&path(NAMESPACE, "mutt_queue_depth", "pipeline=core")).await).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let value = |name: &str, value: &str| (format!("core/{name}"), value.to_owned());
    let expected = [
        value("ingest/waiting", "10"),
        value("ingest/processing", "0"),
        value("alert/waiting", "0"),
        value("alert/processing", "0"),
    ];
    assert_eq!(values(&list), expected);
    let age = raw(&path(NAMESPACE, "mutt_queue_oldest_age_seconds", "pipeline=core,queue in (ingest),state=waiting"))
        .await
        .unwrap();
    let age: String = values(&serde_json::from_str(&age).unwrap()).remove(0).1;
    let seconds: f64 =
        age.strip_suffix('m').map_or_else(|| age.parse().unwrap(), |milli| milli.parse::<f64>().unwrap() / 1e3);
    assert!(seconds > 7e8, "{age}");
    let said = raw(&path(NAMESPACE, "mutt_queue_depth", "pipeline in (")).await.unwrap_err();
    assert!(said.contains("label selector cannot be read"), "{said}");
    eventually(async || {
        let resources =
            kubectl(cluster.kubeconfig(), &["api-resources", "--api-group=external.metrics.k8s.io"]).await?;
        if resources.contains("mutt_queue_oldest_age_seconds") { Ok(()) } else { Err(resources) }
    })
    .await;
    let somebody = cluster.kubeconfig_of("somebody", None).unwrap();
    let refused = kubectl(&somebody, &["get", "--raw", &path(NAMESPACE, "mutt_queue_depth", "")]).await.unwrap_err();
    assert!(refused.contains("forbidden"), "{refused}");

    make_autoscaler(&client).await;
    let replicas = async || {
        let deployment = Api::<Deployment>::namespaced(client.clone(), NAMESPACE).get("alerter").await.unwrap();
        deployment.spec.unwrap().replicas
    };
    let condition = async |wanted: &str, said: &str| {
        eventually(async || {
            let hpa =
                Api::<HorizontalPodAutoscaler>::namespaced(client.clone(), NAMESPACE).get("alerter").await.unwrap();
            let conditions = hpa.status.unwrap_or_default().conditions.unwrap_or_default();
            let active = conditions.iter().find(|condition| condition.type_ == "ScalingActive");
            let holds = active
                .is_some_and(|is| is.status == wanted && is.message.as_deref().unwrap_or_default().contains(said));
            if holds { Ok(()) } else { Err(format!("ScalingActive={wanted} {said:?}; seen {conditions:?}")) }
        })
        .await;
    };
    eventually(async || match replicas().await {
        Some(5) => Ok(()),
        seen => Err(format!("5 replicas; seen {seen:?}")),
    })
    .await;
    // Without a value nothing is scaled, and the condition says which pipeline and why.
    redis.stop().await.unwrap();
    condition("False", "the queues of pipeline aggregated/core cannot be read: redis at ").await;
    assert_eq!(replicas().await, Some(5));
    redis.restart().await.unwrap();
    condition("True", "").await;
}
