//! The operator's own process, twice: who leads makes no difference to who asks.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use mutt_servers::{RedisServer, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    operator::Operator,
    site::{
        accept, admin, apply, client_for, cluster, eventually, identity, make_namespace, make_pipeline, path, values,
    },
};

const NAMESPACE: &str = "processes";
const SERVICE: &str = "mutt-external-metrics";

#[tokio::test]
async fn leader_and_standby_serve_alike_and_end_in_order() {
    let (cluster, client) = (cluster().await, admin().await);
    let redis = RedisServer::start().await.unwrap();
    make_namespace(&client, NAMESPACE).await;
    make_pipeline(&client, NAMESPACE, "core", &redis, None).await;
    accept(&redis, NAMESPACE, "core", 3).await;
    let role =
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": NAMESPACE}});
    apply(&client, &role).await;
    let start = |name: &str| {
        let port = free_port().unwrap();
        let flags = [
            format!("--pod-name={name}"),
            format!("--pod-namespace={NAMESPACE}"),
            format!("--watch-namespace={NAMESPACE}"),
            format!("--lease-namespace={NAMESPACE}"),
            format!("--external-metrics-port={port}"),
            format!("--external-metrics-service={SERVICE}"),
            format!("--external-metrics-cluster-role={NAMESPACE}"),
        ];
        (Operator::start(cluster.kubeconfig(), &flags.each_ref().map(String::as_str)), port)
    };
    let mut leader = start("leader");
    leader.0.leads().await;
    let mut standby = start("standby");
    standby.0.logs("waiting for the Lease").await;

    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    let authority = eventually(async || {
        let secret = secrets.get_opt(SERVICE).await.unwrap().ok_or("no Secret with a certificate")?;
        let authority = secret.data.and_then(|mut data| data.remove("ca.crt")).ok_or("no ca.crt in it")?;
        Ok(String::from_utf8(authority.0).unwrap())
    })
    .await;
    let host = format!("{SERVICE}.{NAMESPACE}.svc");
    let front_proxy = identity("front-proxy").await;
    for (operator, port) in [&leader, &standby] {
        let ask = client_for(&host, *port, &authority, Some(&front_proxy));
        let get = async |path: &str| {
            let request = ask.get(format!("https://{host}:{port}{path}"));
            let request = request.header("X-Remote-User", "root").header("X-Remote-Group", "system:masters");
            let answer = request.send().await.map_err(|error| format!("{error:?}; log:\n{}", operator.log()))?;
            let (code, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            if code == 200 { Ok(text) } else { Err(format!("{code} {text}")) }
        };
        eventually(async || get("/readyz").await).await;
        let list = get(&path(NAMESPACE, "mutt_queue_depth", "queue=ingest,state=waiting")).await.unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        assert_eq!(values(&list), [("core/ingest/waiting".to_owned(), "3".to_owned())]);
        operator.answers(&format!("/scaling/{NAMESPACE}/core"), 200, r#""waiting":3"#).await;
        operator.answers("/ready", 200, "ready").await;
    }
    for (operator, _) in [&mut standby, &mut leader] {
        operator.signal(Signal::TERM);
        operator.ends_with(0).await;
    }
}
