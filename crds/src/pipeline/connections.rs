//! What a pipeline connects to: Redis, PostgreSQL, the webhook.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key in a Secret of the pipeline's namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret. Example: `internal-ca`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret. Default: `ca.crt`.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}

/// Redis: where it is, how to log in, and the prefix of all keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!has(self.tls) || self.url.startsWith('rediss://')", "message": "tls needs a URL that begins with rediss://"},
    {"rule": "!self.url.contains('@')", "message": "no login in the URL: put the password into the Secret named by credentialsSecret (key REDIS_PASS) and the user into username"},
]))]
pub struct RedisSpec {
    /// `redis://host:port/database`, or `rediss://` for TLS; without login. Example: `rediss://redis:6380`.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^rediss?://"))]
    pub url: String,
    /// ACL user. Default: the default user. Example: `mutt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub username: Option<String>,
    /// Name of a Secret with the key `REDIS_PASS` (or `REDIS_PASS_CURRENT`), and `REDIS_PASS_NEXT` during a rotation.
    /// Default: none, Redis asks for no password. Example: `mutt-redis`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub credentials_secret: Option<String>,
    /// Whom to trust with `rediss://`. Default: the public authorities in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
    /// Prefix of every key in Redis; cannot be changed later, since the queues would be left behind. Two pipelines on one Redis need
    /// two prefixes; `{mutt}` for Redis Cluster. Default: `mutt`. Example: `mutt-core`.
    #[serde(default = "key_prefix")]
    #[schemars(
        length(min = 1, max = 64),
        regex(pattern = r"^[A-Za-z0-9._{}-]+$"),
        extend("x-kubernetes-validations" = [
            {"rule": "self == oldSelf", "message": "keyPrefix cannot be changed: the queues under the old prefix would be left behind. Make a second pipeline with the new prefix and let this one drain"},
        ])
    )]
    pub key_prefix: String,
}

fn key_prefix() -> String {
    "mutt".to_owned()
}

/// Whom to trust at the other end of a connection to Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisTls {
    /// PEM certificates of the authorities to trust. Example: `{name: internal-ca, key: ca.crt}`.
    pub ca_secret: SecretKey,
}

/// PostgreSQL: where it is, how to log in, how long the audit trail is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresSpec {
    /// Host name or address. Example: `postgres.db.svc`.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Port. Default: 5432.
    #[serde(default = "postgres_port")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// Database. Default: `mutt_db`.
    #[serde(default = "database")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// User; the key `DB_USER` of the credentials Secret wins. Default: `mutt_user`.
    #[serde(default = "user")]
    #[schemars(length(min = 1, max = 63))]
    pub user: String,
    /// Name of a Secret with the key `DB_PASS` (or `DB_PASS_CURRENT`), `DB_PASS_NEXT` during a rotation, and perhaps `DB_USER`.
    /// Example: `mutt-postgres`.
    #[schemars(length(min = 1, max = 253))]
    pub credentials_secret: String,
    /// TLS: on by default, certificate and host name verified.
    #[serde(default)]
    pub tls: PostgresTls,
    /// Host of a read replica for the Web UI's searches. Default: none. Example: `postgres-ro.db.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub read_host: Option<String>,
    /// Most connections of one alerter or Web UI. Default: 10.
    #[serde(default = "max_connections")]
    #[schemars(range(min = 2, max = 1_000))]
    pub max_connections: u32,
    /// Whole months for which audit rows are kept; older partitions are dropped every night. Default: 12. Example: `24`.
    #[serde(default = "retention_months")]
    #[schemars(range(min = 1, max = 1_200))]
    pub retention_months: u32,
}

fn postgres_port() -> u16 {
    5432
}

fn database() -> String {
    "mutt_db".to_owned()
}

fn user() -> String {
    "mutt_user".to_owned()
}

fn max_connections() -> u32 {
    10
}

fn retention_months() -> u32 {
    12
}

/// TLS to PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.enabled || !has(self.caSecret)", "message": "caSecret has no effect with enabled: false"},
]))]
pub struct PostgresTls {
    /// Whether TLS is used (verify-full). Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// PEM certificates of the authorities to trust. Default: the public authorities in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
}

impl Default for PostgresTls {
    fn default() -> Self {
        Self { enabled: true, ca_secret: None }
    }
}

pub(super) fn yes() -> bool {
    true
}

/// The webhook: where, how fast, and what happens when it fails.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoogsoftSpec {
    /// Where alerts are posted. Example: `https://moog.example.com/events/webhook`.
    #[schemars(length(min = 1, max = 2_048), regex(pattern = r"^https?://"))]
    pub url: String,
    /// Name of a Secret with the key `MOOG_API_KEY`, sent as bearer token. Example: `mutt-moog`.
    #[schemars(length(min = 1, max = 253))]
    pub credentials_secret: String,
    /// PEM certificates of the authorities to trust. Default: the public authorities in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
    /// Seconds until a POST is given up. Default: 10.
    #[serde(default = "timeout_seconds")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: u32,
    /// How many alerts may be sent, over all forwarders.
    #[serde(default)]
    pub rate_limit: RateLimit,
    /// What happens with an alert that the webhook did not take.
    #[serde(default)]
    pub retry: Retry,
    /// Stop posting for a while after failures in a row.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,
}

fn timeout_seconds() -> u32 {
    10
}

/// A limit over all forwarders of the pipeline; what is above it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Alerts per period; 0 = no limit. Default: 50.
    #[serde(default = "alerts")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub alerts: u32,
    /// Seconds of the period. Default: 1.
    #[serde(default = "period_seconds")]
    #[schemars(range(min = 1, max = 3_600))]
    pub period_seconds: u32,
}

fn alerts() -> u32 {
    50
}

fn period_seconds() -> u32 {
    1
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { alerts: alerts(), period_seconds: period_seconds() }
    }
}

/// Repeated attempts, with exponential delays and jitter; after the last the alert is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Failed attempts after the first before an alert is a dead letter. Default: 5.
    #[serde(default = "max_retries")]
    #[schemars(range(min = 0, max = 1_000))]
    pub max: u32,
    /// Seconds before the first retry; doubles each time. Default: 1.
    #[serde(default = "base_delay_seconds")]
    #[schemars(range(min = 1, max = 3_600))]
    pub base_delay_seconds: u32,
    /// Most seconds between retries. Default: 60.
    #[serde(default = "max_delay_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub max_delay_seconds: u32,
}

fn max_retries() -> u32 {
    5
}

fn base_delay_seconds() -> u32 {
    1
}

fn max_delay_seconds() -> u32 {
    60
}

impl Default for Retry {
    fn default() -> Self {
        Self { max: max_retries(), base_delay_seconds: base_delay_seconds(), max_delay_seconds: max_delay_seconds() }
    }
}

/// The breaker that all forwarders share; an open breaker costs no attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Whether it is used. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Failures in a row, over all forwarders, that open it. Default: 10.
    #[serde(default = "failures")]
    #[schemars(range(min = 1, max = 100_000))]
    pub failures: u32,
    /// Seconds until an open breaker lets one probe through. Default: 300.
    #[serde(default = "open_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub open_seconds: u32,
}

fn failures() -> u32 {
    10
}

fn open_seconds() -> u32 {
    300
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { enabled: true, failures: failures(), open_seconds: open_seconds() }
    }
}
