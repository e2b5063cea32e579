//! The rights of the chart `mutt-operator`, held against the audit log of an API server: a pipeline with every kind of child and its
//! rules come, change and go, and then every right has been used and none was missing.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use mutt_cluster::ControlPlaneOptions;
use mutt_operator::pipeline::kinds::ChildKind;
use mutt_servers::RedisServer;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    chart::{ACCOUNT, NAMESPACE, apply_role, arguments, in_pod, namespace, rendered},
    client, eventually,
    operator::Operator,
    process::install,
};

/// group, resource (with subresource), verb
type Right = (String, String, String);

/// Rights that the API server itself asks for while it admits another request; no request of the operator's bears their name.
const ASKED_BY_ADMISSION: &[(&str, &str, &str)] = &[
    ("mutt.dev", "muttpipelines/finalizers", "update"),
    ("mutt.dev", "alertrules/finalizers", "update"),
    ("route.openshift.io", "routes/custom-host", "create"),
    ("route.openshift.io", "routes/custom-host", "update"),
];

#[tokio::test]
async fn every_right_of_the_chart_is_used_and_none_is_missing() {
    let audit = Audit::new();
    let cluster = audit.options().start().await.unwrap();
    let admin = client(cluster.kubeconfig(), None).await;
    install(&admin).await;
    install_optional(&admin).await;
    for name in [NAMESPACE, "netops"] {
        namespace(&admin, name).await;
    }
    let objects = rendered("default");
    for role in objects.iter().filter(|object| object["apiVersion"] == "rbac.authorization.k8s.io/v1") {
        apply_role(&admin, role).await;
    }
    let kubeconfig = cluster.kubeconfig_of(ACCOUNT, Some("system:serviceaccounts")).unwrap();
    let flags = arguments(&objects, "Deployment", "/spec/template/spec/containers/0/args");
    let operator = Operator::start(&kubeconfig, &in_pod(&flags));
    operator.leads().await;

    let site = Site { admin, redis: RedisServer::start().await.unwrap() };
    site.comes().await;
    site.changes().await;
    site.loses_what_is_not_wanted().await;

    let granted = granted(&objects);
    let mut unused = BTreeSet::new();
    for _ in 0..600 {
        unused = granted.difference(&audit.used()).cloned().collect();
        if unused.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(unused.is_empty(), "granted and never used: {unused:#?}\n{}", operator.log());
    let refused = audit.refused();
    assert!(refused.is_empty(), "used and not granted: {refused:#?}");
}

/// What the rendered roles grant, without what only admission asks for.
fn granted(objects: &[Value]) -> BTreeSet<Right> {
    let list = |rule: &Value, key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap() };
    let roles = objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Role"));
    let mut all = BTreeSet::new();
    for rule in roles.flat_map(|role| role["rules"].as_array().unwrap()) {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                all.extend(list(rule, "verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    for (group, resource, verb) in ASKED_BY_ADMISSION {
        assert!(all.remove(&((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned())), "{resource}");
    }
    all
}

/// The API server's audit log of the operator's requests.
struct Audit(TempDir);

impl Audit {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [ACCOUNT]}, {"level": "None"}],
        });
        std::fs::write(directory.path().join("policy.json"), policy.to_string()).unwrap();
        Self(directory)
    }

    fn options(&self) -> ControlPlaneOptions {
        ControlPlaneOptions::new()
            .argument(format!("--audit-policy-file={}", self.0.path().join("policy.json").display()))
            .argument(format!("--audit-log-path={}", self.log().display()))
            .argument("--audit-log-mode=blocking")
    }

    fn log(&self) -> PathBuf {
        self.0.path().join("audit.log")
    }

    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        // The last line may be on its way.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn used(&self) -> BTreeSet<Right> {
        let mut used = BTreeSet::new();
        for event in self.events() {
            let Some((group, resource)) = named(&event) else { continue };
            let verb = event["verb"].as_str().unwrap().to_owned();
            // What an apply has made was also asked for as a creation.
            if verb == "patch" && event["responseStatus"]["code"] == 201 {
                used.insert((group.clone(), resource.clone(), "create".to_owned()));
            }
            used.insert((group, resource, verb));
        }
        used
    }

    fn refused(&self) -> BTreeSet<String> {
        let refused = self.events().into_iter().filter(|event| event["responseStatus"]["code"] == 403);
        refused.map(|event| format!("{} {}", event["verb"], event["requestURI"])).collect()
    }
}

/// Group and resource of a request for one.
fn named(event: &Value) -> Option<(String, String)> {
    let object = &event["objectRef"];
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let resource = text("resource");
    let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
    (!resource.is_empty()).then(|| (text("apiGroup"), format!("{resource}{subresource}")))
}

/// Definitions of Route, ServiceMonitor and PrometheusRule.
async fn install_optional(admin: &Client) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../e2e/testdata/crds");
    let api: Api<CustomResourceDefinition> = Api::all(admin.clone());
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let definition: Value = serde_saphyr::from_str(&text).unwrap();
        let name = definition["metadata"]["name"].as_str().unwrap();
        api.patch(name, &PatchParams::apply("test"), &Patch::Apply(&definition)).await.unwrap();
    }
    for kind in [ChildKind::Route, ChildKind::ServiceMonitor, ChildKind::PrometheusRule] {
        let api: Api<DynamicObject> = Api::all_with(admin.clone(), &kind.resource());
        eventually(&format!("{kind} is served"), async || api.list(&ListParams::default().limit(1)).await.ok()).await;
    }
}

struct Site {
    admin: Client,
    redis: RedisServer,
}

impl Site {
    fn children(&self, kind: ChildKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.admin.clone(), "netops", &kind.resource())
    }

    async fn apply(&self, kind: &str, name: &str, spec: &Value) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("mutt.dev", "v1alpha1", kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.admin.clone(), "netops", &resource);
        let object = json!({
            "apiVersion": "mutt.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        });
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
    }

    async fn rule(&self, name: &str) {
        let spec = json!({
            "match": {"message": {"contains": name}}, "team": "NETO",
            "handling": {"production": "Page_and_ticket", "development": "Ticket_only"},
        });
        self.apply("AlertRule", name, &spec).await;
    }

    fn pipeline(&self) -> Value {
        json!({
            "redis": {"url": self.redis.url()},
            "postgres": {"host": "postgres", "credentialsSecret": "postgres"},
            "moogsoft": {"url": "https://moog.example.com/events", "credentialsSecret": "moog"},
            "ingestor": {"apiKeySecret": "ingest", "autoscaling": {"maxReplicas": 4}},
            "webUi": {"apiKeySecret": "webui"},
            "ruleNamespaceSelector": {},
            "monitoring": {"serviceMonitor": {}, "prometheusRule": {}},
            "networkPolicy": {},
            "ingress": {"ingestHost": "ingest.example.com", "webUiHost": "mutt.example.com"},
        })
    }

    async fn comes(&self) {
        let secrets: Api<Secret> = Api::namespaced(self.admin.clone(), "netops");
        let keys = [
            ("postgres", "DB_PASS"),
            ("moog", "MOOG_API_KEY"),
            ("ingest", "INGEST_API_KEY"),
            ("webui", "WEBUI_API_KEY"),
        ];
        for (name, key) in keys {
            let secret = json!({"metadata": {"name": name}, "stringData": {key: "secret"}});
            secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
        }
        self.rule("first").await;
        self.apply("MuttPipeline", "core", &self.pipeline()).await;
        for kind in ChildKind::ALL.iter().filter(|kind| **kind != ChildKind::Route) {
            self.there(*kind).await;
        }
    }

    /// Another way in, and another rule.
    async fn changes(&self) {
        let mut pipeline = self.pipeline();
        pipeline.as_object_mut().unwrap().remove("ingress");
        pipeline["route"] = json!({"ingestHost": "ingest.example.com"});
        self.apply("MuttPipeline", "core", &pipeline).await;
        self.there(ChildKind::Route).await;
        self.rule("second").await;
    }

    /// An object of the pipeline's that nobody wants is deleted, whatever its kind.
    async fn loses_what_is_not_wanted(&self) {
        for kind in ChildKind::ALL {
            // Ingresses have gone for the Route.
            if *kind == ChildKind::Ingress {
                let none = async || {
                    self.children(*kind).list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
                };
                eventually("the Ingress has gone", none).await;
                continue;
            }
            let api = self.children(*kind);
            let orphan = orphan(*kind, &self.there(*kind).await);
            api.create(&PostParams::default(), &orphan).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
            let gone = async || api.get_opt("core-orphan").await.unwrap().is_none().then_some(());
            eventually(&format!("{kind} core-orphan is deleted"), gone).await;
        }
        self.loses_a_shard().await;
    }

    /// A part of the readable copy of the rules that is not of the rules any more.
    async fn loses_a_shard(&self) {
        let api: Api<ConfigMap> = Api::namespaced(self.admin.clone(), "netops");
        let shard = eventually("the readable copy of the rules", async || {
            let all = api.list(&ListParams::default().labels("mutt.dev/rules-of=core")).await.unwrap();
            all.items.into_iter().find(|map| map.name_any().starts_with("core-rules-"))
        })
        .await;
        let mut stray = shard;
        let metadata = &mut stray.metadata;
        metadata.name = Some("core-rules-stray".to_owned());
        (metadata.uid, metadata.resource_version, metadata.managed_fields) = (None, None, None);
        api.create(&PostParams::default(), &stray).await.unwrap();
        self.rule("third").await;
        let gone = async || api.get_opt("core-rules-stray").await.unwrap().is_none().then_some(());
        eventually("the stray part is deleted", gone).await;
    }

    /// A child of this kind.
    async fn there(&self, kind: ChildKind) -> DynamicObject {
        let ours = ListParams::default().labels("mutt.dev/pipeline=core");
        let first = async || self.children(kind).list(&ours).await.unwrap().items.into_iter().next();
        eventually(&format!("a {kind} of the pipeline"), first).await
    }
}

/// A copy under a name that is not wanted, without what the API server gave the original.
fn orphan(kind: ChildKind, object: &DynamicObject) -> DynamicObject {
    let mut orphan = object.clone();
    let metadata = &mut orphan.metadata;
    metadata.name = Some("core-orphan".to_owned());
    (metadata.uid, metadata.resource_version, metadata.managed_fields) = (None, None, None);
    (metadata.creation_timestamp, metadata.generation) = (None, None);
    if let Some(spec) = orphan.data["spec"].as_object_mut() {
        for given in ["clusterIP", "clusterIPs"] {
            spec.remove(given);
        }
    }
    if kind == ChildKind::Job {
        orphan.data["spec"].as_object_mut().unwrap().remove("selector");
        let labels = &mut orphan.data["spec"]["template"]["metadata"]["labels"];
        for given in
            ["controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"]
        {
            labels.as_object_mut().unwrap().remove(given);
        }
    }
    orphan
}
