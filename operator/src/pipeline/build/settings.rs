//! Settings of the workers, from the pipeline's: what the connections need, and whatever differs from the worker's own default.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};
use mutt_crds::pipeline::{AuditScope, IngestAck, SignatureMode};
use mutt_secrets::SecretName;

use super::{files::Files, prometheus::selector};
use crate::pipeline::resolve::{Alerter, Component, Ingestor, Resolved, WebUi};

/// Batches in flight of an alerter, if not set; each has a connection to PostgreSQL, and one more is needed beside them.
const ALERTER_LANES: u32 = 3;

/// The workers' own defaults of the settings below (README, "Settings"): these stay out of the Deployment. A test compares them
/// with that table.
pub(super) const WORKER_DEFAULTS: &[(&str, &str)] = &[
    ("DB_PORT", "5432"),
    ("DB_USER", "mutt_user"),
    ("DB_TLS_ENABLED", "true"),
    ("DB_POOL_MAX_CONN", "10"),
    ("LOG_LEVEL", "INFO"),
    ("MAX_INGEST_QUEUE_SIZE", "1000000"),
    ("INGEST_ACK", "memory"),
    ("ALERTER_LANES", "3"),
    ("AUDIT_SCOPE", "all"),
    ("UNHANDLED_THRESHOLD", "100"),
    ("UNHANDLED_EXPIRY_SECONDS", "86400"),
    ("UNHANDLED_DEFAULT_TEAM", "NETO"),
    ("UNHANDLED_SIGNATURE", "masked"),
    ("MOOG_WEBHOOK_TIMEOUT", "10"),
    ("MOOG_RATE_LIMIT", "50"),
    ("MOOG_RATE_PERIOD", "1"),
    ("MOOG_MAX_RETRIES", "5"),
    ("MOOG_RETRY_BASE_DELAY", "1"),
    ("MOOG_RETRY_MAX_DELAY", "60"),
    ("CIRCUIT_BREAKER_ENABLED", "true"),
    ("CIRCUIT_BREAKER_THRESHOLD", "10"),
    ("CIRCUIT_BREAKER_TIMEOUT", "300"),
];

impl Files {
    /// A setting, unless the worker would take this value anyway.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers give numbers and references to texts; a further `&` says nothing"
    )]
    fn setting(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        if !WORKER_DEFAULTS.contains(&(name, value.as_str())) {
            self.env.push(EnvVar { name: name.to_owned(), value: Some(value), value_from: None });
        }
    }

    fn setting_if(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.setting(name, value);
        }
    }
}

/// Environment and files of a role.
pub(super) fn of_role(pipeline: &Resolved, component: Component) -> Files {
    let mut files = Files::default();
    pod_name(&mut files);
    files.setting("LOG_FORMAT", "json");
    files.setting_if("LOG_LEVEL", pipeline.log_level.as_ref());
    if let Some(tls) = &pipeline.tls {
        files.server(&tls.secret);
    }
    redis(pipeline, &mut files);
    if component != Component::Database {
        objectives(pipeline, &mut files);
    }
    match component {
        Component::Ingestor => ingestor(&pipeline.ingestor, &mut files),
        Component::Alerter => alerter(pipeline, &pipeline.alerter, &mut files),
        Component::Forwarder => forwarder(pipeline, &mut files),
        Component::WebUi => pipeline.web_ui.iter().for_each(|web_ui| webui(pipeline, web_ui, &mut files)),
        Component::Database => {}
    }
    files
}

/// Environment and files of `mutt db migrate`.
pub(super) fn of_migration(pipeline: &Resolved) -> Files {
    let mut files = Files::default();
    files.setting("LOG_FORMAT", "json");
    postgres(pipeline, &mut files);
    files
}

/// Environment and files of `mutt db retention`, which asks Redis what is in flight.
pub(super) fn of_retention(pipeline: &Resolved) -> Files {
    let mut files = of_migration(pipeline);
    redis(pipeline, &mut files);
    files
}

fn pod_name(files: &mut Files) {
    let field_ref = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "metadata.name".to_owned() };
    let value_from = EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() };
    files.env.push(EnvVar { name: "POD_NAME".to_owned(), value: None, value_from: Some(value_from) });
}

fn redis(pipeline: &Resolved, files: &mut Files) {
    let redis = &pipeline.redis;
    files.setting("REDIS_URL", &redis.url);
    files.setting("REDIS_KEY_PREFIX", &redis.key_prefix);
    files.setting_if("REDIS_USERNAME", redis.username.as_ref());
    if let Some(secret) = &redis.credentials_secret {
        files.secret("redis", secret, &[SecretName::RedisPass, SecretName::RedisPassNext]);
    }
    if let Some(tls) = &redis.tls {
        files.authority("redis", "REDIS_CA_CERT_PATH", &tls.ca_secret);
    }
}

/// Where the objectives are recorded, in every role: `mutt status` shows them in whichever pod it is called.
fn objectives(pipeline: &Resolved, files: &mut Files) {
    if let Some(url) = pipeline.web_ui.as_ref().and_then(|web_ui| web_ui.prometheus_url.as_ref()) {
        files.setting("PROMETHEUS_URL", url);
        files.setting("SLO_SELECTOR", selector(pipeline));
    }
}

fn postgres(pipeline: &Resolved, files: &mut Files) {
    let postgres = &pipeline.postgres;
    files.setting("DB_HOST", &postgres.host);
    files.setting("DB_PORT", postgres.port);
    files.setting("DB_NAME", &postgres.database);
    if !pipeline.database_user_in_secret {
        // The worker takes a setting before the Secret's key.
        files.setting("DB_USER", &postgres.user);
    }
    files.setting("DB_TLS_ENABLED", postgres.tls.enabled);
    if let Some(authority) = &postgres.tls.ca_secret {
        files.authority("postgres", "DB_TLS_CA_CERT_PATH", authority);
    }
    let names = [SecretName::DbUser, SecretName::DbPass, SecretName::DbPassNext];
    files.secret("postgres", &postgres.credentials_secret, &names);
}

fn ingestor(ingestor: &Ingestor, files: &mut Files) {
    let names = [SecretName::IngestApiKey, SecretName::IngestApiKeyNext];
    files.secret("ingestor", &ingestor.api_key_secret, &names);
    files.setting("MAX_INGEST_QUEUE_SIZE", ingestor.max_queue_size);
    files.setting(
        "INGEST_ACK",
        match ingestor.ack {
            IngestAck::Memory => "memory",
            IngestAck::Fsync => "fsync",
        },
    );
}

fn alerter(pipeline: &Resolved, alerter: &Alerter, files: &mut Files) {
    postgres(pipeline, files);
    let connections = pipeline.postgres.max_connections;
    files.setting("DB_POOL_MAX_CONN", connections);
    files.setting("ALERTER_LANES", ALERTER_LANES.min(connections.saturating_sub(1)));
    files.setting("RULES_SOURCE", "redis");
    let scope = match alerter.audit_scope {
        AuditScope::All => "all",
        AuditScope::Handled => "handled",
    };
    files.setting("AUDIT_SCOPE", scope);
    let unhandled = &alerter.unhandled;
    files.setting("UNHANDLED_THRESHOLD", unhandled.threshold);
    files.setting("UNHANDLED_EXPIRY_SECONDS", unhandled.expiry_seconds);
    files.setting("UNHANDLED_DEFAULT_TEAM", &unhandled.default_team);
    let signature = match unhandled.signature {
        SignatureMode::Masked => "masked",
        SignatureMode::Exact => "exact",
    };
    files.setting("UNHANDLED_SIGNATURE", signature);
}

fn forwarder(pipeline: &Resolved, files: &mut Files) {
    let moogsoft = &pipeline.moogsoft;
    files.setting("MOOG_WEBHOOK_URL", &moogsoft.url);
    files.secret("moogsoft", &moogsoft.credentials_secret, &[SecretName::MoogApiKey]);
    if let Some(authority) = &moogsoft.ca_secret {
        files.authority("moogsoft", "MOOG_CA_CERT_PATH", authority);
    }
    files.setting("MOOG_WEBHOOK_TIMEOUT", moogsoft.timeout_seconds);
    files.setting("MOOG_RATE_LIMIT", moogsoft.rate_limit.alerts);
    files.setting("MOOG_RATE_PERIOD", moogsoft.rate_limit.period_seconds);
    files.setting("MOOG_MAX_RETRIES", moogsoft.retry.max);
    files.setting("MOOG_RETRY_BASE_DELAY", moogsoft.retry.base_delay_seconds);
    files.setting("MOOG_RETRY_MAX_DELAY", moogsoft.retry.max_delay_seconds);
    files.setting("CIRCUIT_BREAKER_ENABLED", moogsoft.circuit_breaker.enabled);
    files.setting("CIRCUIT_BREAKER_THRESHOLD", moogsoft.circuit_breaker.failures);
    files.setting("CIRCUIT_BREAKER_TIMEOUT", moogsoft.circuit_breaker.open_seconds);
}

fn webui(pipeline: &Resolved, web_ui: &WebUi, files: &mut Files) {
    postgres(pipeline, files);
    files.setting("DB_POOL_MAX_CONN", pipeline.postgres.max_connections);
    files.setting_if("DB_READ_HOST", pipeline.postgres.read_host.as_ref());
    let names = [SecretName::WebUiApiKey, SecretName::WebUiApiKeyNext];
    files.secret("webui", &web_ui.api_key_secret, &names);
    files.setting("RULES_SOURCE", "redis");
}
