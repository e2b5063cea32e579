//! Namespaces, a Redis and the operator's rules half for one test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use mutt_cluster::ControlPlane;
use mutt_crds::{AlertRule, MuttPipeline};
use mutt_operator::rules::{self, RulesState};
use mutt_operator::runtime::args::ExternalMetricsArgs;
use mutt_operator::runtime::metrics::Metrics;
use mutt_operator::runtime::shutdown::ShutdownTrigger;
use mutt_operator::runtime::{Args, Context, Shutdown};
use mutt_queue::served_rules::Served;
use mutt_queue::{Keys, Redis};
use mutt_rules::RuleSet;
use mutt_servers::{RedisOptions, RedisServer};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::alerter::{Alerter, patient};
use super::{LIMIT, LOOK_EVERY, api};

/// Waits until `condition` holds; `what` says what, with what is seen instead.
pub(crate) async fn eventually<T>(mut condition: impl AsyncFnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(seen) => assert!(Instant::now() < until, "not within {LIMIT:?}: {seen}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// One for all tests that break nothing of it; each has its own key prefix.
pub(crate) async fn shared_redis() -> &'static RedisServer {
    static SERVER: OnceCell<RedisServer> = OnceCell::const_new();
    SERVER.get_or_init(|| async { RedisOptions::new().without_persistence().start().await.unwrap() }).await
}

/// A client with the custom resources installed.
pub(crate) async fn client_of(cluster: &ControlPlane) -> Client {
    let client = Client::try_from(api::config(cluster.kubeconfig(), None).await).unwrap();
    api::install(&client).await;
    client
}

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) redis_url: String,
    pub(crate) prefix: String,
    pub(crate) redis: Redis,
    pub(crate) context: Option<Arc<Context>>,
    watched: Vec<String>,
    operator: Option<(ShutdownTrigger, JoinHandle<Result<(), rules::Error>>)>,
}

impl Site {
    /// On the shared control plane and Redis, in a namespace of its own.
    pub(crate) async fn new(name: &str) -> Self {
        let cluster = ControlPlane::shared().await.unwrap();
        Self::on(client_of(cluster).await, &shared_redis().await.url(), name).await
    }

    pub(crate) async fn on(client: Client, redis_url: &str, name: &str) -> Self {
        let unique = format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let site = Self {
            client,
            redis_url: redis_url.to_owned(),
            prefix: unique.clone(),
            redis: patient(redis_url),
            watched: vec![unique.clone()],
            namespace: unique.clone(),
            context: None,
            operator: None,
        };
        site.make_namespace(&unique, json!({})).await;
        site
    }

    pub(crate) async fn make_namespace(&self, name: &str, labels: Value) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
    }

    /// Another namespace that the operator looks at, too.
    pub(crate) async fn another_namespace(&mut self, suffix: &str, labels: Value) -> String {
        let name = format!("{}-{suffix}", self.namespace);
        self.make_namespace(&name, labels).await;
        self.watched.push(name.clone());
        name
    }

    /// All namespaces instead of this test's.
    pub(crate) fn watch_all(&mut self) {
        self.watched.clear();
    }

    pub(crate) fn start(&mut self) {
        let args = Args {
            watch_namespaces: self.watched.clone(),
            election: None,
            pod_name: format!("operator-of-{}", self.namespace),
            pod_namespace: None,
            worker_image: "mutt-worker:test".to_owned(),
            http_port: 0,
            log_filter: "info".to_owned(),
            log_format: None,
            concurrency: 4,
            external_metrics: ExternalMetricsArgs::default(),
            service: None,
            runbook_base_url: None,
            check: false,
        };
        let context = Arc::new(Context::with_client(args, self.client.clone(), Arc::new(Metrics::new().unwrap())));
        let (trigger, shutdown) = Shutdown::channel();
        self.operator = Some((trigger, tokio::spawn(rules::run(Arc::clone(&context), shutdown))));
        self.context = Some(context);
    }

    pub(crate) async fn stop(&mut self) {
        let (trigger, task) = self.operator.take().unwrap();
        trigger.request();
        task.await.unwrap().unwrap();
    }

    pub(crate) fn alerter(&self, name: &str) -> Alerter {
        Alerter::start(&self.redis_url, &self.prefix, name)
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::new(&self.prefix)
    }

    /// Applies a pipeline on this site's Redis and prefix; `more` is merged into its spec.
    pub(crate) async fn pipeline(&self, name: &str, more: Value) {
        self.pipeline_on(name, &self.redis_url, &self.prefix, more).await;
    }

    pub(crate) async fn pipeline_on(&self, name: &str, url: &str, prefix: &str, more: Value) {
        let mut spec = json!({
            "redis": {"url": url, "keyPrefix": prefix},
            "postgres": {"host": "postgres", "credentialsSecret": "mutt-postgres"},
            "moogsoft": {"url": "https://moog.example.com/events", "credentialsSecret": "mutt-moog"},
            "ingestor": {"apiKeySecret": "mutt-ingest"},
        });
        merge(&mut spec, more);
        let object = json!({"apiVersion": "mutt.dev/v1alpha1", "kind": "MuttPipeline",
                            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec});
        let api: Api<MuttPipeline> = Api::namespaced(self.client.clone(), &self.namespace);
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
    }

    pub(crate) fn pipelines(&self) -> Api<MuttPipeline> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn rules_of(&self, namespace: &str) -> Api<AlertRule> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn rules(&self) -> Api<AlertRule> {
        self.rules_of(&self.namespace)
    }

    pub(crate) fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a rule; `text` is what its messages contain, or `regex=…`.
    pub(crate) async fn rule(&self, name: &str, labels: Value, text: &str) {
        self.rule_with(name, labels, text, json!({})).await;
    }

    pub(crate) async fn rule_with(&self, name: &str, labels: Value, text: &str, more: Value) {
        self.rule_in(&self.namespace, name, labels, text, more).await;
    }

    pub(crate) async fn rule_in(&self, namespace: &str, name: &str, labels: Value, text: &str, more: Value) {
        let (kind, text) = text.split_once('=').unwrap_or(("contains", text));
        let mut spec = json!({"match": {"message": {kind: text}}, "team": "NETO",
                              "handling": {"production": "Page_only", "development": "Ignore"}});
        merge(&mut spec, more);
        let object = json!({"apiVersion": "mutt.dev/v1alpha1", "kind": "AlertRule",
                            "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec});
        let (api, parameters) = (self.rules_of(namespace), PatchParams::apply("test").force());
        api.patch(name, &parameters, &Patch::Apply(object)).await.unwrap();
    }

    pub(crate) async fn delete_rule(&self, name: &str) {
        self.rules().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn secret(&self, name: &str, data: Value) {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
    }

    /// Waits until the status says, of the rule's present generation, `Accepted/Active` as reasons, and each binding as
    /// `pipeline=count`.
    pub(crate) async fn until(&self, name: &str, expected: &str) -> AlertRule {
        self.until_in(&self.namespace, name, expected).await
    }

    pub(crate) async fn until_in(&self, namespace: &str, name: &str, expected: &str) -> AlertRule {
        let api = self.rules_of(namespace);
        eventually(async || {
            let rule = api.get(name).await.map_err(|error| error.to_string())?;
            let seen = said(&rule);
            if seen == expected { Ok(rule) } else { Err(format!("{name}: {expected}; seen {seen}: {:?}", rule.status)) }
        })
        .await
    }

    /// What Redis serves: `name:text` of all rules, in order.
    pub(crate) async fn served(&self) -> Vec<String> {
        self.served_below(&self.prefix).await
    }

    pub(crate) async fn served_below(&self, prefix: &str) -> Vec<String> {
        let keys = Keys::new(prefix);
        let Some(revision) = mutt_queue::served_rules::current(&self.redis, &keys).await.unwrap() else {
            return vec!["nothing".to_owned()];
        };
        let text = mutt_queue::served_rules::bundle(&self.redis, &keys, &revision).await.unwrap().unwrap();
        let set = RuleSet::from_json(&text).unwrap();
        let text = |rule: &mutt_rules::Rule| {
            let message = rule.spec.matches.message.clone().unwrap();
            let name = rule.name.rsplit('/').next().unwrap();
            format!("{name}:{}", message.contains.or(message.regex).unwrap())
        };
        set.rules().iter().map(text).collect()
    }

    pub(crate) async fn until_served(&self, expected: &[&str]) {
        self.until_served_below(&self.prefix, expected).await;
    }

    pub(crate) async fn until_served_below(&self, prefix: &str, expected: &[&str]) {
        eventually(async || {
            let served = self.served_below(prefix).await;
            if served == expected {
                Ok(())
            } else {
                Err(format!("{expected:?} served below {prefix}; seen {served:?}"))
            }
        })
        .await;
    }

    pub(crate) async fn sequence(&self) -> u64 {
        Served::read(&self.redis, &self.keys(), "").await.unwrap().sequence
    }

    /// Sequence number and hash of the record, once it is what Redis says.
    pub(crate) async fn record(&self, pipeline: &str) -> (u64, String) {
        eventually(async || {
            let map = self.config_maps().get(&format!("{pipeline}-rules")).await.map_err(|error| error.to_string())?;
            let data = map.data.unwrap();
            let record: (u64, String) = (data["seq"].parse().unwrap(), data["hash"].clone());
            let served = Served::read(&self.redis, &self.keys(), "").await.unwrap();
            let in_redis = (served.sequence, served.revision.unwrap_or_default());
            if record == in_redis { Ok(record) } else { Err(format!("record {record:?}, redis {in_redis:?}")) }
        })
        .await
    }

    pub(crate) async fn uid_of(&self, pipeline: &str) -> String {
        self.pipelines().get(pipeline).await.unwrap().metadata.uid.unwrap()
    }

    /// Waits for what the pipeline half sees.
    pub(crate) async fn board(&self, pipeline: &str, what: &str, holds: impl Fn(&RulesState) -> bool) -> RulesState {
        let uid = self.uid_of(pipeline).await;
        let board = &self.context.as_ref().unwrap().rules;
        eventually(async || match board.get(&self.namespace, pipeline, &uid) {
            Some(state) if holds(&state) => Ok(RulesState::clone(&state)),
            state => Err(format!("{what}; seen {state:?}")),
        })
        .await
    }
}

/// `Accepted/Active` as reasons and `pipeline=count` of each binding; `-` where the status is not about the present
/// generation.
pub(crate) fn said(rule: &AlertRule) -> String {
    let Some(status) = rule.status.as_ref().filter(|status| status.observed_generation == rule.metadata.generation)
    else {
        return "-".to_owned();
    };
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == status.observed_generation));
    let reason = |type_: &str| {
        let found = status.conditions.iter().find(|condition| condition.type_ == type_);
        found.map_or("-", |condition| condition.reason.as_str())
    };
    let bindings = status.pipelines.iter().map(|binding| {
        let name = binding.name.rsplit('/').next().unwrap();
        format!(" {name}={}", binding.active.as_deref().unwrap_or("-"))
    });
    format!("{}/{}{}", reason("Accepted"), reason("Active"), bindings.collect::<String>())
}

pub(crate) fn condition(rule: &AlertRule, type_: &str) -> Condition {
    let found = rule.status.as_ref().and_then(|s| s.conditions.iter().find(|condition| condition.type_ == type_));
    found.unwrap_or_else(|| panic!("{type_} in {:?}", rule.status)).clone()
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
