//! A pipeline that can be built.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ResourceRequirements;
use mutt_crds::pipeline::{
    AuditScope, IngestAck, IngressSpec, MonitorSpec, MoogsoftSpec, NetworkPolicySpec, PodOverrides, PostgresSpec,
    RedisSpec, RouteSpec, UnhandledSpec,
};

use super::{Choice, Scale, Warning};

/// Part of a pipeline; also the label `app.kubernetes.io/component` and the end of children's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Takes events.
    Ingestor,
    /// Matches and audits them.
    Alerter,
    /// Posts alerts.
    Forwarder,
    /// Web UI and its API.
    WebUi,
    /// Schema and retention of the audit trail.
    Database,
}

impl Component {
    /// The four roles, in the order of the data path.
    pub const ROLES: [Self; 4] = [Self::Ingestor, Self::Alerter, Self::Forwarder, Self::WebUi];

    /// As in labels and names; of a role also the worker's command.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ingestor => "ingestor",
            Self::Alerter => "alerter",
            Self::Forwarder => "forwarder",
            Self::WebUi => "webui",
            Self::Database => "database",
        }
    }

    /// Name of this component's children: `<pipeline>-<component>`.
    pub fn child_name(self, pipeline: &str) -> String {
        format!("{pipeline}-{}", self.word())
    }
}

/// What every role has, with defaults applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    /// Which.
    pub component: Component,
    /// How many pods.
    pub scale: Scale,
    /// What was decided about its autoscaling; none = it has none.
    pub autoscaling: Option<Choice>,
    /// CPU and memory of one pod.
    pub resources: ResourceRequirements,
    /// What the owner adds to the pods.
    pub pod: PodOverrides,
}

/// Ingestors.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingestor {
    /// What every role has.
    pub role: Role,
    /// Secret with `INGEST_API_KEY`.
    pub api_key_secret: String,
    /// Events in the queue from which on 503 is answered.
    pub max_queue_size: i64,
    /// What a 200 promises.
    pub ack: IngestAck,
}

/// Alerters.
#[derive(Debug, Clone, PartialEq)]
pub struct Alerter {
    /// What every role has.
    pub role: Role,
    /// Which events get an audit row.
    pub audit_scope: AuditScope,
    /// What happens with events that no rule takes.
    pub unhandled: UnhandledSpec,
}

/// Web UI.
#[derive(Debug, Clone, PartialEq)]
pub struct WebUi {
    /// What every role has.
    pub role: Role,
    /// Secret with `WEBUI_API_KEY`.
    pub api_key_secret: String,
    /// Prometheus that holds the SLO series.
    pub prometheus_url: Option<String>,
}

/// How the pipeline is reached from outside the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposure {
    /// Not at all.
    Internal,
    /// By an Ingress.
    Ingress(IngressSpec),
    /// By OpenShift's Routes.
    Route(RouteSpec),
}

/// TLS of the workers' HTTP ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Secret with `tls.crt` and `tls.key`.
    pub secret: String,
    /// Whether the Secret also says who signed it, in `ca.crt`.
    pub has_ca: bool,
}

/// Image of all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Name with tag or digest.
    pub name: String,
    /// When nodes pull it.
    pub pull_policy: Option<String>,
    /// Secrets with registry logins.
    pub pull_secrets: Vec<String>,
}

/// A pipeline that can be built: validated, every default applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Name of the MuttPipeline.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: String,
    /// Image of all workers.
    pub image: Image,
    /// Redis.
    pub redis: RedisSpec,
    /// PostgreSQL.
    pub postgres: PostgresSpec,
    /// Whether the Secret of PostgreSQL names the user, which then wins over `postgres.user`.
    pub database_user_in_secret: bool,
    /// The webhook.
    pub moogsoft: MoogsoftSpec,
    /// Ingestors.
    pub ingestor: Ingestor,
    /// Alerters.
    pub alerter: Alerter,
    /// Forwarders.
    pub forwarder: Role,
    /// Web UI.
    pub web_ui: Option<WebUi>,
    /// How the pipeline is reached from outside the cluster.
    pub exposure: Exposure,
    /// TLS of the workers' HTTP ports.
    pub tls: Option<Tls>,
    /// A ServiceMonitor is wanted and its API is served.
    pub service_monitor: Option<MonitorSpec>,
    /// A PrometheusRule is wanted and its API is served.
    pub prometheus_rule: Option<MonitorSpec>,
    /// Where MUTT's repository is to be read: alerts lead there.
    pub runbook_base_url: Option<String>,
    /// NetworkPolicies.
    pub network_policy: Option<NetworkPolicySpec>,
    /// Log level of all workers.
    pub log_level: Option<String>,
    /// Nothing is to be changed.
    pub paused: bool,
    /// Names of this pipeline's Jobs that have completed.
    pub completed_jobs: BTreeSet<String>,
    /// What the owner should know, although everything can be built.
    pub warnings: Vec<Warning>,
}

impl Resolved {
    /// The roles that are wanted, in the order of the data path.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        let web_ui = self.web_ui.as_ref().map(|web_ui| &web_ui.role);
        [&self.ingestor.role, &self.alerter.role, &self.forwarder].into_iter().chain(web_ui)
    }
}
