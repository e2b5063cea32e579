//! The roles of the chart `mutt-operator` grant what the operator uses, and nothing else: the API server's audit log tells what it used.

use std::{collections::BTreeSet, path::Path};

use k8s_openapi::{
    api::{
        batch::v1::CronJob,
        core::v1::{ConfigMap, Namespace, Secret, ServiceAccount},
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams, PostParams},
};
use mutt_cluster::ControlPlaneOptions;
use mutt_crds::{AlertRule, MuttPipeline};
use mutt_operator::pipeline::kinds::ChildKind;
use mutt_servers::{RedisServer, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    api::install,
    foreign::install_foreign_kinds,
    harness::{LIMIT, Site, admin, eventually, spec},
    operator::Operator,
    render::{ACCOUNT, apply_roles, of_deployment, rendered},
};

/// A child by a name that the operator does not use.
const OLDER: &str = "core-older";
/// A copy of rules that none is left for.
const COPY: &str = "core-rules-stray";

const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
const OFF: &str = "--external-metrics=false";

/// A right: API group, resource, verb.
type Right = (String, String, String);

/// Rights that the API server asks for beside those of the request itself, or only elsewhere.
fn is_used_unseen((group, resource, verb): &Right, used: &BTreeSet<Right>) -> bool {
    // An apply that finds nothing creates.
    let creates = verb == "create" && used.contains(&(group.clone(), resource.clone(), "patch".to_owned()));
    // OwnerReferencesPermissionEnforcement, which is on, asks for it where an owner reference blocks the owner's deletion.
    let blocks = resource.ends_with("/finalizers") && verb == "update";
    // OpenShift's own server asks for it; here, Routes are any custom resource.
    let openshift = resource == "routes/custom-host";
    creates || blocks || openshift
}

#[tokio::test]
async fn the_chart_grants_what_the_operator_uses_and_nothing_else() {
    for case in ["default", "namespaces"] {
        let directory = tempfile::tempdir().unwrap();
        let (policy, log) = (directory.path().join("policy.json"), directory.path().join("audit.log"));
        std::fs::write(&policy, audit_policy().to_string()).unwrap();
        let options = ControlPlaneOptions::new()
            .argument(format!("--audit-policy-file={}", policy.display()))
            .argument(format!("--audit-log-path={}", log.display()));
        let cluster = options.start().await.unwrap();
        let client = admin(&cluster).await;
        install(&client).await;
        install_foreign_kinds(&client).await;
        let site = Site::within(&cluster, "netops").await;
        for namespace in ["mutt-system", "lab"] {
            let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        }
        let objects = rendered(case);
        apply_roles(&client, &objects).await;
        let kubeconfig = cluster.kubeconfig_of(ACCOUNT, Some("system:serviceaccounts")).unwrap();
        let port = free_port().unwrap();
        let port_flag = format!("--external-metrics-port={port}");
        let mut flags = of_deployment(&objects);
        flags.retain(|flag| !flag.starts_with("--external-metrics-port="));
        flags.push(&port_flag);
        let mut operator = Operator::start(&kubeconfig, &flags);
        operator.leads().await;
        a_whole_life(&site).await;
        if case == "default" {
            a_certificate(&client).await;
            a_question(&client, port).await;
            an_api_service(&client).await;
        }
        operator.signal(Signal::TERM);
        operator.ends_with(0).await;
        if case == "default" {
            let off = flags.iter().map(|flag| if *flag == "--external-metrics=true" { OFF } else { *flag });
            let mut operator = Operator::start(&kubeconfig, &off.collect::<Vec<_>>());
            given_up(&client).await;
            operator.signal(Signal::TERM);
            operator.ends_with(0).await;
        }
        compare(case, &granted(&objects), &log);
    }
}

/// A pipeline with everything, then with nothing; rules that come and go.
async fn a_whole_life(site: &Site) {
    let redis = RedisServer::start().await.unwrap();
    let mut spec = spec("rights");
    spec["redis"]["url"] = json!(redis.url());
    spec["ruleNamespaceSelector"] = json!({});
    let mut smallest = spec.clone();
    smallest["webUi"] = Value::Null;
    spec["forwarder"] = json!({"autoscaling": {"mode": "Resource", "maxReplicas": 5}});
    spec["ingestor"]["autoscaling"] = json!({"mode": "Keda", "maxReplicas": 5});
    spec["alerter"] = json!({"autoscaling": {"mode": "External", "maxReplicas": 5}});
    spec["networkPolicy"] = json!({});
    spec["monitoring"] = json!({"serviceMonitor": {}, "prometheusRule": {}});
    spec["ingress"] = json!({"ingestHost": "ingest.example.com"});
    let rules: Api<AlertRule> = site.api();
    let rule = json!({"apiVersion": "mutt.dev/v1alpha1", "kind": "AlertRule", "metadata": {"name": "down"}, "spec": {
        "match": {"message": {"contains": "Down"}}, "team": "NETO",
        "handling": {"production": "Page_and_ticket", "development": "Ticket_only"},
    }});
    rules.create(&PostParams::default(), &serde_json::from_value(rule).unwrap()).await.unwrap();
    site.pipeline("core", &spec).await;
    let job = site.migrated("core").await;
    for kind in ChildKind::ALL.iter().filter(|kind| **kind != ChildKind::Route) {
        one_of(site, *kind).await;
    }
    accepted(&rules).await;
    left_behind(site).await;
    rules.patch("down", &PatchParams::default(), &Patch::Merge(json!({"spec": {"priority": 7}}))).await.unwrap();
    eventually("a copy of rules too many goes", async || site.get::<ConfigMap>(COPY).await.is_none().then_some(()))
        .await;
    spec["ingress"] = Value::Null;
    spec["route"] = json!({});
    spec["image"] = json!("mutt-worker:next");
    site.pipeline("core", &spec).await;
    one_of(site, ChildKind::Route).await;
    site.is_gone(ChildKind::Job, &job).await;
    site.migrated("core").await;
    site.pipeline("core", &smallest).await;
    site.is_gone(ChildKind::ServiceAccount, OLDER).await;
    site.is_gone(ChildKind::CronJob, OLDER).await;
    for kind in [
        ChildKind::Route,
        ChildKind::HorizontalPodAutoscaler,
        ChildKind::ScaledObject,
        ChildKind::NetworkPolicy,
        ChildKind::ServiceMonitor,
        ChildKind::PrometheusRule,
    ] {
        eventually(&format!("no {kind}"), async || {
            site.all_children("core").await.iter().all(|(other, _)| *other != kind).then_some(())
        })
        .await;
    }
    site.is_gone(ChildKind::Deployment, "core-webui").await;
    site.is_gone(ChildKind::Service, "core-webui").await;
}

/// The Secret of the serving certificate is there, and put right when somebody breaks it.
async fn a_certificate(client: &Client) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "mutt-system");
    let name = "mutt-operator-external-metrics";
    let key = async || secrets.get_opt(name).await.unwrap()?.data?.remove("tls.key").filter(|key| key.0 != b"broken");
    let before = eventually("a serving certificate", key).await;
    let broken = json!({"stringData": {"tls.key": "broken"}});
    secrets.patch(name, &PatchParams::default(), &Patch::Merge(broken)).await.unwrap();
    assert_eq!(eventually("it is put right", key).await, before);
}

/// It was taken while the pipeline wanted it, and is put right when somebody changes it.
async fn an_api_service(client: &Client) {
    let services: Api<APIService> = Api::all(client.clone());
    let priority = async || Some(services.get_opt(API_SERVICE).await.unwrap()?.spec?.group_priority_minimum);
    let before = eventually("the APIService", priority).await;
    let change = json!({"spec": {"groupPriorityMinimum": before + 1}});
    services.patch(API_SERVICE, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    eventually("it is put right", async || priority().await.filter(|now| *now == before)).await;
}

/// An operator that is told not to serve it gives it up at once.
async fn given_up(client: &Client) {
    let services: Api<APIService> = Api::all(client.clone());
    eventually("no APIService", async || services.get_opt(API_SERVICE).await.unwrap().is_none().then_some(())).await;
}

/// Somebody with a token asks for a metric, and may not.
async fn a_question(client: &Client, port: u16) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "mutt-system");
    let account = serde_json::from_value(json!({"metadata": {"name": "somebody"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let request = serde_json::from_value(json!({"spec": {"audiences": []}, "metadata": {}})).unwrap();
    let token = accounts.create_token_request("somebody", &PostParams::default(), &request).await.unwrap();
    let token = token.status.unwrap().token;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "mutt-system");
    let bundle = secrets.get("mutt-operator-external-metrics").await.unwrap().data.unwrap()["ca.crt"].clone();
    let host = "mutt-operator-external-metrics.mutt-system.svc";
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(&bundle.0).unwrap())
        .resolve(host, (std::net::Ipv4Addr::LOCALHOST, port).into())
        .timeout(LIMIT)
        .build()
        .unwrap();
    let url = format!("https://{host}:{port}/apis/external.metrics.k8s.io/v1beta1/namespaces/netops/mutt_queue_depth");
    let answer = client.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 403, "{}", answer.text().await.unwrap());
}

/// What an older operator may have called otherwise, and a copy of more rules than there are now.
async fn left_behind(site: &Site) {
    let pipeline = site.get::<MuttPipeline>("core").await.unwrap();
    let metadata = |name: &str, labels: Value| json!({"name": name, "labels": labels, "ownerReferences": [pipeline.controller_owner_ref(&()).unwrap()]});
    let labels = json!({"app.kubernetes.io/managed-by": "mutt-operator", "mutt.dev/pipeline": "core"});
    let account = json!({"metadata": metadata(OLDER, labels.clone())});
    site.api::<ServiceAccount>()
        .create(&PostParams::default(), &serde_json::from_value(account).unwrap())
        .await
        .unwrap();
    let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
    let cron_job =
        json!({"metadata": metadata(OLDER, labels), "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": job}}});
    site.api::<CronJob>().create(&PostParams::default(), &serde_json::from_value(cron_job).unwrap()).await.unwrap();
    let labels = json!({
        "app.kubernetes.io/managed-by": "mutt-operator", "app.kubernetes.io/component": "rules-copy", "mutt.dev/rules-of": "core",
    });
    let copy = json!({"metadata": metadata(COPY, labels)});
    site.api::<ConfigMap>().create(&PostParams::default(), &serde_json::from_value(copy).unwrap()).await.unwrap();
}

async fn one_of(site: &Site, kind: ChildKind) {
    eventually(&format!("a {kind}"), async || {
        site.all_children("core").await.iter().any(|(other, _)| *other == kind).then_some(())
    })
    .await;
}

async fn accepted(rules: &Api<AlertRule>) {
    eventually("the rule is accepted", async || {
        let rule = rules.get("down").await.unwrap();
        let conditions = rule.status.map(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Accepted" && condition.status == "True").then_some(())
    })
    .await;
}

fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}],
    })
}

/// What the roles grant that are bound to the operator, product by product.
fn granted(objects: &[Value]) -> BTreeSet<Right> {
    let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let mut granted = BTreeSet::new();
    let bound = |role: &&Value| {
        let binds = |binding: &&Value| {
            binding["roleRef"]["kind"] == role["kind"]
                && binding["roleRef"]["name"] == role["metadata"]["name"]
                && binding["subjects"][0]["name"] == "mutt-operator"
        };
        objects.iter().any(|object| binds(&object))
    };
    let roles = objects.iter().filter(|object| ["Role", "ClusterRole"].contains(&object["kind"].as_str().unwrap()));
    let roles = roles.filter(bound);
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    granted
}

/// What the audit log tells; a refusal is a failure.
fn compare(case: &str, granted: &BTreeSet<Right>, log: &Path) {
    let mut used = BTreeSet::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let object = &event["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if object["resource"].is_null() {
            continue;
        }
        let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        let right = (text(&object["apiGroup"]), text(&object["resource"]) + &subresource, text(&event["verb"]));
        assert_ne!(event["responseStatus"]["code"], 403, "{case}: refused: {right:?} {}", object["name"]);
        used.insert(right);
    }
    let missing: Vec<_> = used.difference(granted).collect();
    let unused: Vec<_> = granted.difference(&used).filter(|right| !is_used_unseen(right, &used)).collect();
    assert!(
        missing.is_empty() && unused.is_empty(),
        "{case}: used and not granted: {missing:#?}\ngranted and not used: {unused:#?}"
    );
}
