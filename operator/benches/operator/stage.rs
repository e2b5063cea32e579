//! Everything around the operator: API server, Redis, PostgreSQL, alerters, pipelines.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use mutt_cluster::ControlPlane;
use mutt_crds::MuttPipeline;
use mutt_servers::{PostgresServer, RedisServer, free_port};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    api,
    process::{Process, operator},
    rules::Rules,
};

pub(crate) struct Stage {
    pub(crate) operator: Option<Process>,
    pub(crate) rules: Rules,
    pub(crate) client: Client,
    // Dropped last, in this order: who connects before whom it connects to.
    alerters: Vec<Process>,
    redis: RedisServer,
    postgres: PostgresServer,
    cluster: ControlPlane,
}

impl Stage {
    /// Everything runs, with one pipeline, two alerters and no rule yet.
    pub(crate) async fn set_up() -> Self {
        let cluster = ControlPlane::start().await.unwrap();
        let redis = RedisServer::start().await.unwrap();
        let postgres = PostgresServer::start().await.unwrap();
        let client = Client::try_from(api::config(cluster.kubeconfig(), None).await).unwrap();
        install(&client).await;
        let rules = Rules::watch(client.clone());
        let mut stage = Self { operator: None, rules, client, alerters: Vec::new(), redis, postgres, cluster };
        stage.add_pipeline("core", "mutt", &json!({"pipeline": "core"})).await;
        stage.start_operator().await;
        stage.start_alerters().await;
        stage
    }

    /// Starts the operator and waits until it is ready.
    pub(crate) async fn start_operator(&mut self) {
        let mut operator = Process::operator(self.cluster.kubeconfig());
        operator.wait("the operator is ready", async |it| it.is_ready().await).await;
        self.operator = Some(operator);
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        self.cluster.kubeconfig()
    }

    pub(crate) fn operator(&self) -> &Process {
        self.operator.as_ref().unwrap()
    }

    async fn start_alerters(&mut self) {
        let environment = [
            ("REDIS_URL", self.redis.url()),
            ("DATABASE_URL", self.postgres.fresh_database().await.unwrap()),
            ("RULES_SOURCE", "redis".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
        ];
        let migrated = mutt(&["db", "migrate"], &environment).stdout(Stdio::null()).status().unwrap();
        assert!(migrated.success(), "mutt db migrate: {migrated}");
        for pod in ["core-alerter-0", "core-alerter-1"] {
            let (health, metrics) = (free_port().unwrap(), free_port().unwrap());
            let mut command = mutt(&["alerter"], &environment);
            command.env("POD_NAME", pod);
            command.env("HEALTH_PORT_ALERTER", health.to_string()).env("METRICS_PORT_ALERTER", metrics.to_string());
            let mut alerter = Process::start(command, health);
            alerter.wait("an alerter is ready", async |it| it.is_ready().await).await;
            self.alerters.push(alerter);
        }
    }

    /// A pipeline on the one Redis.
    pub(crate) async fn add_pipeline(&self, name: &str, key_prefix: &str, labels: &Value) {
        let pipeline = json!({
            "apiVersion": "mutt.dev/v1alpha1",
            "kind": "MuttPipeline",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {
                "redis": {"url": self.redis.url(), "keyPrefix": key_prefix},
                "postgres": {
                    "host": "127.0.0.1",
                    "port": self.postgres.port(),
                    "credentialsSecret": "mutt",
                    "tls": {"enabled": false},
                },
                "moogsoft": {"url": "http://127.0.0.1:9/webhook", "credentialsSecret": "mutt"},
                "ingestor": {"apiKeySecret": "mutt"},
                "ruleSelector": {"matchLabels": labels},
            },
        });
        let api: Api<MuttPipeline> = Api::namespaced(self.client.clone(), "bench");
        api.patch(name, &PatchParams::apply("bench").force(), &Patch::Apply(pipeline)).await.unwrap();
    }

    pub(crate) async fn remove_pipeline(&self, name: &str) {
        let api: Api<MuttPipeline> = Api::namespaced(self.client.clone(), "bench");
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// What a node and the controllers would report: Jobs complete, Deployments available. Gives how many objects it had to
    /// report anew.
    pub(crate) async fn report_for_the_node(&self) -> usize {
        let now = jiff::Timestamp::now().to_string();
        let done = json!([
            {"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached", "lastTransitionTime": now},
            {"type": "Complete", "status": "True", "reason": "CompletionsReached", "lastTransitionTime": now},
        ]);
        let mut reported = 0;
        for job in listed::<Job>(&self.client).await {
            if job.status.as_ref().and_then(|status| status.completion_time.as_ref()).is_none() {
                let status = json!({"succeeded": 1, "startTime": now, "completionTime": now, "conditions": done});
                report(&self.client, &job, status).await;
                reported += 1;
            }
        }
        for deployment in listed::<Deployment>(&self.client).await {
            let generation = deployment.metadata.generation;
            if deployment.status.as_ref().and_then(|status| status.observed_generation) != generation {
                let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
                let status = json!({
                    "observedGeneration": generation,
                    "replicas": wanted, "updatedReplicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted,
                    "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}],
                });
                report(&self.client, &deployment, status).await;
                reported += 1;
            }
        }
        reported
    }
}

async fn listed<K>(client: &Client) -> Vec<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    Api::<K>::namespaced(client.clone(), "bench").list(&ListParams::default()).await.unwrap().items
}

async fn report<K>(client: &Client, object: &K, status: Value)
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api = Api::<K>::namespaced(client.clone(), "bench");
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await.unwrap();
}

/// The workers' binary: `MUTT_BIN`, else the one beside the operator's; `make bench-operator` builds both.
fn mutt(arguments: &[&str], environment: &[(&str, String)]) -> Command {
    let path = std::env::var_os("MUTT_BIN").map_or_else(|| operator().with_file_name("mutt"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: cargo build --release -p mutt", path.display());
    let mut command = Command::new(path);
    command.args(arguments).env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Custom resources, namespace and Secret.
async fn install(client: &Client) {
    let parameters = PatchParams::apply("bench").force();
    api::install(client).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}});
    Api::<Namespace>::all(client.clone()).patch("bench", &parameters, &Patch::Apply(namespace)).await.unwrap();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "mutt"},
        "stringData": {"DB_PASS": "x", "MOOG_API_KEY": "x", "INGEST_API_KEY": "x"},
    });
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "bench");
    secrets.patch("mutt", &parameters, &Patch::Apply(secret)).await.unwrap();
}
