//! A small pipeline in a namespace of its own, and events through it.

use std::time::{Duration, Instant};

use mutt_e2e::{client, eventually};
use serde_json::json;

use super::kubectl::{apply, get, kubectl, wait_condition};
use super::outside::Outside;

/// The key that may send events.
pub(crate) const INGEST_KEY: &str = "ingest-key-of-the-tests";

/// A MuttPipeline `core` with one pod of each role, Secrets and servers.
pub(crate) struct Deployed {
    /// The namespace.
    pub(crate) namespace: &'static str,
    /// Redis, PostgreSQL, webhook.
    pub(crate) outside: Outside,
}

impl Deployed {
    /// Applies all and waits until it is ready.
    pub(crate) async fn new(namespace: &'static str) -> Self {
        Self::with(namespace, |deployed| deployed.manifest(1, "")).await
    }

    /// As [`Self::new`], with another manifest of the pipeline.
    pub(crate) async fn with(namespace: &'static str, manifest: impl Fn(&Self) -> String) -> Self {
        let deployed = Self { namespace, outside: Outside::start().await };
        kubectl(&["create", "namespace", namespace]).await;
        apply(&deployed.secrets()).await;
        apply(&manifest(&deployed)).await;
        deployed.ready().await;
        deployed
    }

    /// Waits for `Ready`.
    pub(crate) async fn ready(&self) {
        wait_condition(self.namespace, "muttpipeline", "core", "Ready", |text| text.starts_with("True")).await;
    }

    /// All four Secrets.
    pub(crate) fn secrets(&self) -> String {
        let values = [
            ("mutt-redis", "REDIS_PASS", super::outside::REDIS_PASSWORD),
            ("mutt-postgres", "DB_PASS", self.outside.postgres.password()),
            ("mutt-moog", "MOOG_API_KEY", "moog-key"),
            ("mutt-ingest", "INGEST_API_KEY", INGEST_KEY),
            ("mutt-webui", "WEBUI_API_KEY", "webui-key-of-the-tests"),
        ];
        let secrets = values.map(|(name, key, value)| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": self.namespace}, "stringData": {key: value}})
        });
        json!({"apiVersion": "v1", "kind": "List", "items": secrets}).to_string()
    }

    /// The pipeline with `replicas` of each role; `more` are further lines of its spec.
    pub(crate) fn manifest(&self, replicas: u32, more: &str) -> String {
        let variables: std::collections::BTreeMap<_, _> = self.outside.variables().into_iter().collect();
        let role = format!("replicas: {replicas}, resources: {{requests: {{cpu: 5m, memory: 32Mi}}}}");
        format!(
            "apiVersion: mutt.dev/v1alpha1
kind: MuttPipeline
metadata: {{name: core, namespace: {namespace}}}
spec:
  redis: {{url: 'redis://{host}:{redis}', credentialsSecret: mutt-redis}}
  postgres: {{host: {host}, port: {postgres}, database: postgres, user: {user}, credentialsSecret: mutt-postgres, tls: {{enabled: false}}}}
  moogsoft: {{url: '{webhook}', credentialsSecret: mutt-moog}}
  ingestor: {{apiKeySecret: mutt-ingest, {role}}}
  alerter: {{{role}}}
  forwarder: {{{role}}}
  webUi: {{apiKeySecret: mutt-webui, {role}}}
{more}",
            namespace = self.namespace,
            host = variables["DB_HOST"],
            redis = variables["REDIS_PORT"],
            postgres = variables["DB_PORT"],
            user = variables["DB_USER"],
            webhook = variables["MOOG_URL"],
        )
    }

    /// Applies a rule that takes messages that contain `text`.
    pub(crate) async fn apply_rule(&self, name: &str, matches: &str) {
        apply(&rule(self.namespace, name, matches)).await;
    }

    /// Waits until a rule is active; says how long that took.
    pub(crate) async fn rule_active(&self, name: &str) -> Duration {
        let start = Instant::now();
        eventually(&format!("rule {name} active in its current form"), async || {
            get(self.namespace, "alertrule", name).await.is_some_and(|rule| {
                let active = rule["status"]["conditions"].as_array().into_iter().flatten().any(|condition| {
                    condition["type"] == "Active"
                        && condition["status"] == "True"
                        && condition["observedGeneration"] == rule["metadata"]["generation"]
                });
                active && rule["status"]["observedGeneration"] == rule["metadata"]["generation"]
            })
        })
        .await;
        start.elapsed()
    }

    /// Posts an event to the ingestor's Service, again until one of its pods takes it.
    pub(crate) async fn send(&self, host: &str, message: &str) {
        let url = self.ingest_url().await;
        let event = json!({"hostname": host, "message": message, "timestamp": "2026-11-25T12:00:00Z"});
        let client = client();
        eventually(&format!("the Service takes the event {message:?}"), async || {
            let answer = client.post(&url).header("X-API-KEY", INGEST_KEY).json(&event).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    /// Posts an event with this key once; the status, if the Service answers.
    pub(crate) async fn post(&self, key: &str) -> Option<u16> {
        let event = json!({"hostname": "core-1", "message": "a key is tried", "timestamp": "2026-11-25T12:00:00Z"});
        let answer = client().post(self.ingest_url().await).header("X-API-KEY", key).json(&event).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    }

    async fn ingest_url(&self) -> String {
        format!("{}/ingest", self.ingest_base().await)
    }

    /// The ingestor's Service, as `http://<address>:8080`.
    pub(crate) async fn ingest_base(&self) -> String {
        let service = get(self.namespace, "service", "core-ingestor").await.unwrap();
        format!("http://{}:8080", service["spec"]["clusterIP"].as_str().unwrap())
    }

    /// Waits until the webhook has got an alert with this text.
    pub(crate) async fn alerted(&self, message: &str) {
        eventually(&format!("an alert {message:?} at the webhook"), async || {
            self.outside.webhook.with_received(|all| all.iter().any(|alert| alert.text("description") == message))
        })
        .await;
    }

    /// Audit rows with this message, as `decision|rule`.
    pub(crate) async fn audited(&self, message: &str) -> String {
        let sql = format!(
            "SELECT handling_decision, coalesce(rule_name, '') FROM event_audit_log WHERE raw_message LIKE '%{message}%'"
        );
        self.outside.postgres.sql("postgres", &sql).await.unwrap().trim().to_owned()
    }
}

/// An AlertRule as YAML; `matches` is the inside of `match.message`.
pub(crate) fn rule(namespace: &str, name: &str, matches: &str) -> String {
    format!(
        "apiVersion: mutt.dev/v1alpha1
kind: AlertRule
metadata: {{name: {name}, namespace: {namespace}, labels: {{pipeline: core}}}}
spec:
  match: {{message: {{{matches}}}}}
  handling: {{production: Page_and_ticket, development: Ticket_only}}
  team: NETO
---
"
    )
}
