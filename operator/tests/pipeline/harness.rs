//! A namespace with a pipeline's Secrets and an operator of its own.

use std::{fmt::Debug, path::Path, sync::Arc, time::Duration};

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    client::ClientBuilder,
};
use mutt_cluster::ControlPlane;
use mutt_crds::MuttPipeline;
use mutt_operator::{
    external_metrics::Standing,
    pipeline::{self, kinds::ChildKind},
    rules::{PipelineKey, RulesState},
    runtime::{Args, Context, Shutdown, args::Given, metrics::Metrics, shutdown::ShutdownTrigger},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{sync::OnceCell, task::JoinHandle};
use tower::util::MapRequestLayer;

use super::api::{config, install};

/// Bound of everything that a test waits for: the machine may be busy with other tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Secrets of [`spec`] and their keys.
const SECRETS: [(&str, &str); 4] = [
    ("mutt-postgres", "DB_PASS"),
    ("mutt-moog", "MOOG_API_KEY"),
    ("mutt-ingest", "INGEST_API_KEY"),
    ("mutt-webui", "WEBUI_API_KEY"),
];

/// Waits until `condition` gives a value.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let until = tokio::time::Instant::now() + LIMIT;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < until, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The smallest pipeline that is allowed, with a Web UI and a prefix of its own in Redis.
pub(crate) fn spec(key_prefix: &str) -> Value {
    json!({
        "redis": {"url": "redis://redis:6379", "keyPrefix": key_prefix},
        "postgres": {"host": "postgres", "credentialsSecret": "mutt-postgres"},
        "moogsoft": {"url": "https://moog.example.com/events", "credentialsSecret": "mutt-moog"},
        "ingestor": {"apiKeySecret": "mutt-ingest"},
        "webUi": {"apiKeySecret": "mutt-webui"},
    })
}

/// A client as a kubeconfig says; what it writes is counted.
pub(crate) async fn client(kubeconfig: &Path, metrics: Arc<Metrics>) -> Client {
    let config = config(kubeconfig, None).await;
    let counted = MapRequestLayer::new(move |request| {
        metrics.sent(&request);
        request
    });
    ClientBuilder::try_from(config).unwrap().with_layer(&counted).build()
}

/// An administrator's client.
pub(crate) async fn admin(cluster: &ControlPlane) -> Client {
    client(cluster.kubeconfig(), Arc::new(Metrics::new().unwrap())).await
}

/// The shared control plane with the definitions installed.
pub(crate) async fn shared() -> &'static ControlPlane {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let cluster = ControlPlane::shared().await.unwrap();
    INSTALLED.get_or_init(async || install(&admin(cluster).await).await).await;
    cluster
}

/// An operator in this process. It ends with this value.
pub(crate) struct Operator {
    pub(crate) context: Arc<Context>,
    trigger: ShutdownTrigger,
    task: JoinHandle<Result<(), pipeline::Ended>>,
}

impl Operator {
    /// Starts one for some namespaces; none = all.
    pub(crate) async fn start(kubeconfig: &Path, namespaces: &[&str]) -> Self {
        let flags: Vec<_> = namespaces.iter().map(|namespace| format!("--watch-namespace={namespace}")).collect();
        Self::start_with(kubeconfig, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Starts one with more flags.
    pub(crate) async fn start_with(kubeconfig: &Path, more: &[&str]) -> Self {
        let mut flags: Vec<_> =
            ["mutt-operator", "--leader-election=false", "--pod-namespace=mutt-system", "--service=operator-metrics"]
                .map(str::to_owned)
                .into();
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        let args = Args::new(<Given as clap::Parser>::try_parse_from(flags).unwrap()).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let client = client(kubeconfig, metrics.clone()).await;
        let context = Arc::new(Context::with_client(args, client, metrics));
        context.apis.refresh().await.unwrap();
        // Who says so in the whole operator does not run here.
        context.external_metrics.set_standing(Standing::Free);
        let (trigger, shutdown) = Shutdown::channel();
        let task = tokio::spawn(pipeline::run(context.clone(), shutdown));
        Self { context, trigger, task }
    }

    /// Ends as on SIGTERM.
    pub(crate) async fn stop(self) {
        self.trigger.request();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap().unwrap();
    }

    /// All that it has sent to the API server to write something.
    pub(crate) fn writes(&self) -> String {
        let all = self.context.metrics.exposition(std::iter::empty());
        let lines: Vec<_> = all.lines().filter(|line| line.starts_with("mutt_operator_writes_total")).collect();
        lines.join("\n")
    }

    /// How many reconciles have ended so.
    pub(crate) fn reconciles(&self, outcome: &str) -> u64 {
        let all = self.context.metrics.exposition(std::iter::empty());
        let series = format!("mutt_operator_reconciles_total{{controller=\"pipeline\",outcome=\"{outcome}\"}} ");
        all.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
    }
}

/// A namespace in a cluster.
pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Site {
    /// A new namespace with the Secrets of [`spec`], in the shared control plane.
    pub(crate) async fn new(namespace: &str) -> Self {
        Self::within(shared().await, namespace).await
    }

    pub(crate) async fn within(cluster: &ControlPlane, namespace: &str) -> Self {
        let site = Self { client: admin(cluster).await, namespace: namespace.to_owned() };
        let object = json!({"metadata": {"name": namespace}});
        let namespaces: Api<Namespace> = Api::all(site.client.clone());
        namespaces.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        for (name, key) in SECRETS {
            site.secret(name, key).await;
        }
        site
    }

    pub(crate) async fn secret(&self, name: &str, key: &str) {
        let secret = json!({"metadata": {"name": name}, "stringData": {key: "secret"}});
        self.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    }

    /// An operator that watches this namespace alone.
    pub(crate) async fn operator(&self) -> Operator {
        Operator::start(shared().await.kubeconfig(), &[&self.namespace]).await
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn children(&self, kind: ChildKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// Applies a pipeline as its owner.
    pub(crate) async fn pipeline(&self, name: &str, spec: &Value) -> MuttPipeline {
        let object = json!({
            "apiVersion": "mutt.dev/v1alpha1", "kind": "MuttPipeline", "metadata": {"name": name}, "spec": spec,
        });
        let params = PatchParams::apply("owner").force();
        self.api::<MuttPipeline>().patch(name, &params, &Patch::Apply(object)).await.unwrap()
    }

    pub(crate) async fn get<K>(&self, name: &str) -> Option<K>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        self.api::<K>().get_opt(name).await.unwrap()
    }

    /// Waits until the object is there.
    pub(crate) async fn exists(&self, kind: ChildKind, name: &str) -> DynamicObject {
        eventually(&format!("{kind} {name} is there"), async || self.children(kind).get_opt(name).await.unwrap()).await
    }

    /// Waits until it is not.
    pub(crate) async fn is_gone(&self, kind: ChildKind, name: &str) {
        let what = format!("{kind} {name} is gone");
        eventually(&what, async || self.children(kind).get_opt(name).await.unwrap().is_none().then_some(())).await;
    }

    /// Waits for a condition with this status and reason, of the current generation; gives its message.
    pub(crate) async fn condition(&self, pipeline: &str, type_: &str, status: &str, reason: &str) -> String {
        let seen = std::cell::RefCell::new(String::new());
        let check = async || {
            let pipeline: MuttPipeline = self.get(pipeline).await?;
            let conditions = pipeline.status.map(|status| status.conditions).unwrap_or_default();
            *seen.borrow_mut() = serde_json::to_string(&conditions).unwrap();
            let condition = conditions.into_iter().find(|condition| condition.type_ == type_)?;
            let fits = condition.status == status
                && condition.reason == reason
                && condition.observed_generation == pipeline.metadata.generation;
            fits.then_some(condition.message)
        };
        let result = tokio::time::timeout(LIMIT + Duration::from_secs(1), eventually_quietly(check)).await;
        result.unwrap_or_else(|_| panic!("{pipeline}: no {type_}={status}/{reason}; last: {}", seen.borrow()))
    }

    /// All children of the pipeline, by kind and name.
    pub(crate) async fn all_children(&self, pipeline: &str) -> Vec<(ChildKind, DynamicObject)> {
        let mut all = Vec::new();
        for &kind in ChildKind::ALL {
            let params = ListParams::default().labels(&format!("mutt.dev/pipeline={pipeline}"));
            match self.children(kind).list(&params).await {
                Ok(objects) => all.extend(objects.into_iter().map(|object| (kind, object))),
                Err(error) => assert!(kind.is_optional(), "{kind}: {error}"),
            }
        }
        all
    }

    /// Plays the Job controller: the database's schema is up to date. Gives the Job's name.
    pub(crate) async fn migrated(&self, pipeline: &str) -> String {
        let jobs = self.api::<Job>();
        let job = eventually("the schema's Job", async || {
            let params = ListParams::default().labels(&format!("mutt.dev/pipeline={pipeline}"));
            jobs.list(&params)
                .await
                .unwrap()
                .into_iter()
                .find(|job| job.status.as_ref().and_then(|status| status.completion_time.as_ref()).is_none())
        })
        .await;
        let now = "2026-11-25T22:00:00Z";
        let condition =
            |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": now, "lastProbeTime": now});
        let status = json!({"status": {
            "startTime": now, "completionTime": now, "succeeded": 1,
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
        }});
        let name = job.name_any();
        jobs.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        name
    }

    /// Plays the Deployment controller and the nodes: all pods of the current form run.
    pub(crate) async fn runs(&self, deployment: &str) {
        let deployments = self.api::<Deployment>();
        self.exists(ChildKind::Deployment, deployment).await;
        let current = deployments.get(deployment).await.unwrap();
        let replicas = current.spec.unwrap().replicas.unwrap();
        let status = json!({"status": {
            "observedGeneration": current.metadata.generation, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas,
        }});
        deployments.patch_status(deployment, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// All four roles run, the schema is up to date, the rules are active.
    pub(crate) async fn everything_runs(&self, operator: &Operator, pipeline: &str) {
        self.migrated(pipeline).await;
        self.rules_are_active(operator, pipeline).await;
        for role in ["ingestor", "alerter", "forwarder", "webui"] {
            self.runs(&format!("{pipeline}-{role}")).await;
        }
        self.condition(pipeline, "Ready", "True", "Running").await;
    }

    /// Plays the other half of the operator.
    pub(crate) async fn rules_are_active(&self, operator: &Operator, pipeline: &str) {
        let state = RulesState {
            uid: self.get::<MuttPipeline>(pipeline).await.unwrap().uid().unwrap(),
            revision: Some("3f1c0a9be217aa".to_owned()),
            sequence: 1,
            accepted: 3,
            active: 3,
            alerters_active: 2,
            alerters_alive: 2,
            ..RulesState::default()
        };
        operator.context.rules.set(&PipelineKey::new(&self.namespace, pipeline), state);
    }

    /// A merge patch of somebody else.
    pub(crate) async fn meddle<K>(&self, api: &Api<K>, name: &str, patch: &(impl Serialize + Debug))
    where
        K: Clone + Debug + DeserializeOwned,
    {
        let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
        api.patch(name, &params, &Patch::Merge(patch)).await.unwrap();
    }
}

async fn eventually_quietly<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
