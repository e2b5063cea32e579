//! A secret value that does not print, and the names secrets go by.

use std::fmt;

/// A password or key. `Debug` and `Display` never show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Every secret MUTT knows (CONTRACT section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretName {
    /// Password of Redis.
    RedisPass,
    /// Password of Redis after the next rotation step.
    RedisPassNext,
    /// User of PostgreSQL.
    DbUser,
    /// Password of PostgreSQL.
    DbPass,
    /// Password of PostgreSQL after the next rotation step.
    DbPassNext,
    /// Key of the ingest API.
    IngestApiKey,
    /// Second valid key of the ingest API.
    IngestApiKeyNext,
    /// Key of the Web UI API.
    WebUiApiKey,
    /// Second valid key of the Web UI API.
    WebUiApiKeyNext,
    /// Bearer key sent to the webhook.
    MoogApiKey,
}

impl SecretName {
    /// All names, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::RedisPass,
        Self::RedisPassNext,
        Self::DbUser,
        Self::DbPass,
        Self::DbPassNext,
        Self::IngestApiKey,
        Self::IngestApiKeyNext,
        Self::WebUiApiKey,
        Self::WebUiApiKeyNext,
        Self::MoogApiKey,
    ];

    /// Whether it is the second valid value of a rotation, which comes and goes while the process runs.
    pub const fn is_next(self) -> bool {
        matches!(self, Self::RedisPassNext | Self::DbPassNext | Self::IngestApiKeyNext | Self::WebUiApiKeyNext)
    }

    /// The names it may be given by, the preferred one first.
    pub const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::RedisPass => &["REDIS_PASS_CURRENT", "REDIS_PASS"],
            Self::RedisPassNext => &["REDIS_PASS_NEXT"],
            Self::DbUser => &["DB_USER"],
            Self::DbPass => &["DB_PASS_CURRENT", "DB_PASS"],
            Self::DbPassNext => &["DB_PASS_NEXT"],
            Self::IngestApiKey => &["INGEST_API_KEY"],
            Self::IngestApiKeyNext => &["INGEST_API_KEY_NEXT"],
            Self::WebUiApiKey => &["WEBUI_API_KEY"],
            Self::WebUiApiKeyNext => &["WEBUI_API_KEY_NEXT"],
            Self::MoogApiKey => &["MOOG_API_KEY"],
        }
    }
}

/// Secrets that are rotated by having two valid values for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// Password of Redis.
    Redis,
    /// Password of PostgreSQL.
    Database,
    /// Key of the ingest API.
    Ingest,
    /// Key of the Web UI API.
    WebUi,
}

impl Pair {
    /// The two names: current, next.
    pub const fn names(self) -> [SecretName; 2] {
        match self {
            Self::Redis => [SecretName::RedisPass, SecretName::RedisPassNext],
            Self::Database => [SecretName::DbPass, SecretName::DbPassNext],
            Self::Ingest => [SecretName::IngestApiKey, SecretName::IngestApiKeyNext],
            Self::WebUi => [SecretName::WebUiApiKey, SecretName::WebUiApiKeyNext],
        }
    }
}
