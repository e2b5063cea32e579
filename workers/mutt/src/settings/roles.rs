//! Validated settings of each role.

use std::{path::PathBuf, time::Duration};

use super::{CommonSettings, DatabaseSettings, Faults, Reader, RedisSettings, SloSettings, Vars};

/// What a 200 of the ingest API means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ack {
    /// Redis has it in memory (and in its AOF within a second).
    Memory,
    /// Redis has written it to disk (WAITAOF).
    Fsync,
    /// So many replicas have it (WAIT).
    Replica(u32),
}

/// Events per window and source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceLimit {
    pub(crate) events: u64,
    pub(crate) window: Duration,
}

/// Settings of `mutt ingestor`.
#[derive(Clone, Debug)]
pub(crate) struct IngestorSettings {
    pub(crate) common: CommonSettings,
    pub(crate) redis: RedisSettings,
    pub(crate) port: u16,
    pub(crate) threads: usize,
    /// Entries in the queue from which on 503 is answered.
    pub(crate) max_queue_size: u64,
    /// Bytes used by Redis from which on 503 is answered; 0 = derived from Redis.
    pub(crate) max_redis_bytes: u64,
    pub(crate) max_body_bytes: usize,
    pub(crate) push_timeout: Duration,
    pub(crate) ack: Ack,
    pub(crate) dlq_max: u64,
    pub(crate) max_connections: usize,
    pub(crate) required_fields: Vec<String>,
    pub(crate) source_limit: Option<SourceLimit>,
}

impl IngestorSettings {
    pub(crate) fn from_vars(vars: &Vars) -> Result<Self, Faults> {
        let mut reader = Reader::new(vars);
        let r = &mut reader;
        let replicas: u32 = r.number("REDIS_WAIT_REPLICAS", 0..=100);
        let ack = r.one_of(
            "INGEST_ACK",
            &[("memory", Ack::Memory), ("fsync", Ack::Fsync), ("replica", Ack::Replica(replicas))],
        );
        if ack == Ack::Replica(0) {
            r.fault("REDIS_WAIT_REPLICAS", "at least 1 is needed with INGEST_ACK=replica");
        }
        let limited = r.flag("RATE_LIMIT_ENABLED");
        let source_limit = SourceLimit {
            events: r.number("INGEST_MAX_RATE", 1..=u64::MAX),
            window: r.seconds("INGEST_RATE_WINDOW", 1.0..=86_400.0),
        };
        let settings = Self {
            common: CommonSettings::read(r),
            redis: RedisSettings::read(r),
            port: r.port("SERVER_PORT_INGESTOR"),
            threads: r.number("INGEST_THREADS", 1..=256),
            max_queue_size: r.number("MAX_INGEST_QUEUE_SIZE", 1..=u64::MAX),
            max_redis_bytes: r.number("INGEST_MAX_REDIS_BYTES", 0..=u64::MAX),
            max_body_bytes: r.number("INGEST_MAX_BODY_BYTES", 1_024..=1 << 30),
            push_timeout: r.seconds("INGEST_PUSH_TIMEOUT", 0.1..=600.0),
            ack,
            dlq_max: r.number("INGEST_DLQ_MAX", 0..=u64::MAX),
            max_connections: r.number("INGEST_MAX_CONNECTIONS", 1..=1_000_000),
            required_fields: required_fields(r),
            source_limit: limited.then_some(source_limit),
        };
        reader.finish(settings)
    }
}

fn required_fields(reader: &mut Reader<'_>) -> Vec<String> {
    let fields: Vec<_> = reader
        .text("REQUIRED_FIELDS")
        .split(',')
        .map(|field| field.trim().to_owned())
        .filter(|f| !f.is_empty())
        .collect();
    for needed in ["hostname", "message", "timestamp"] {
        if !fields.iter().any(|field| field == needed) {
            reader.fault("REQUIRED_FIELDS", format!("`{needed}` cannot be left out: the alerter needs it"));
        }
    }
    fields
}

/// Where the rules of record are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RulesSource {
    /// Tables of the audit database.
    Postgres,
    /// AlertRule files.
    Directory(PathBuf),
    /// The bundle that the operator keeps in Redis.
    Redis,
}

impl RulesSource {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let directory = reader.path("RULES_DIR");
        match reader.one_of("RULES_SOURCE", &[("postgres", 0), ("dir", 1), ("redis", 2)]) {
            1 => {
                if directory.is_none() {
                    reader.fault("RULES_DIR", "needed with RULES_SOURCE=dir");
                }
                Self::Directory(directory.unwrap_or_default())
            }
            2 => Self::Redis,
            _ => {
                if directory.is_some() {
                    reader.fault("RULES_DIR", "only read with RULES_SOURCE=dir");
                }
                Self::Postgres
            }
        }
    }
}

/// Which events get an audit row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditScope {
    All,
    Handled,
}

/// Settings of `mutt alerter`.
#[derive(Clone, Debug)]
pub(crate) struct AlerterSettings {
    pub(crate) common: CommonSettings,
    pub(crate) redis: RedisSettings,
    pub(crate) database: DatabaseSettings,
    pub(crate) metrics_port: u16,
    pub(crate) health_port: u16,
    pub(crate) heartbeat_interval: Duration,
    /// How long a lease lasts without renewal.
    pub(crate) lease: Duration,
    /// Lapses while matching after which a batch is processed one event at a time.
    pub(crate) max_retries: u32,
    pub(crate) shed_threshold: u64,
    /// Batches in flight at once.
    pub(crate) lanes: usize,
    pub(crate) rules_source: RulesSource,
    pub(crate) rules_poll_interval: Duration,
    pub(crate) reload_interval: Duration,
    pub(crate) audit_scope: AuditScope,
    pub(crate) unhandled_threshold: u64,
    pub(crate) unhandled_expiry: Duration,
    pub(crate) unhandled_default_team: String,
    /// Numbers and addresses do not tell kinds of unhandled events apart.
    pub(crate) unhandled_masked: bool,
}

impl AlerterSettings {
    pub(crate) fn from_vars(vars: &Vars) -> Result<Self, Faults> {
        let mut reader = Reader::new(vars);
        let r = &mut reader;
        let settings = Self {
            common: CommonSettings::read(r),
            redis: RedisSettings::read(r),
            database: DatabaseSettings::read(r),
            metrics_port: r.port("METRICS_PORT_ALERTER"),
            health_port: r.port("HEALTH_PORT_ALERTER"),
            heartbeat_interval: r.seconds("ALERTER_HEARTBEAT_INTERVAL", 0.1..=25.0),
            lease: r.seconds("ALERTER_JANITOR_TIMEOUT", 1.0..=3_600.0),
            max_retries: r.number("ALERTER_MAX_RETRIES", 1..=100),
            shed_threshold: r.number("ALERTER_QUEUE_SHED_THRESHOLD", 1..=u64::MAX),
            lanes: r.number("ALERTER_LANES", 1..=64),
            rules_source: RulesSource::read(r),
            rules_poll_interval: r.seconds("RULES_POLL_INTERVAL", 0.05..=3_600.0),
            reload_interval: r.seconds("CACHE_RELOAD_INTERVAL", 1.0..=86_400.0),
            audit_scope: r.one_of("AUDIT_SCOPE", &[("all", AuditScope::All), ("handled", AuditScope::Handled)]),
            unhandled_threshold: r.number("UNHANDLED_THRESHOLD", 1..=u64::MAX),
            unhandled_expiry: r.seconds("UNHANDLED_EXPIRY_SECONDS", 1.0..=31_536_000.0),
            unhandled_default_team: r.text("UNHANDLED_DEFAULT_TEAM"),
            unhandled_masked: r.one_of("UNHANDLED_SIGNATURE", &[("masked", true), ("exact", false)]),
        };
        distinct_ports(
            r,
            &[("METRICS_PORT_ALERTER", settings.metrics_port), ("HEALTH_PORT_ALERTER", settings.health_port)],
        );
        if settings.database.pool_max < settings.lanes as u32 + 1 {
            r.fault("DB_POOL_MAX_CONN", "at least one more than ALERTER_LANES is needed");
        }
        reader.finish(settings)
    }
}

/// Settings of `mutt forwarder`.
#[derive(Clone, Debug)]
pub(crate) struct ForwarderSettings {
    pub(crate) common: CommonSettings,
    pub(crate) redis: RedisSettings,
    pub(crate) metrics_port: u16,
    pub(crate) health_port: u16,
    pub(crate) heartbeat_interval: Duration,
    /// How long a lease lasts without renewal.
    pub(crate) lease: Duration,
    pub(crate) webhook_url: url::Url,
    pub(crate) webhook_timeout: Duration,
    pub(crate) webhook_ca: Option<PathBuf>,
    /// Alerts per period over all forwarders; 0 = no limit.
    pub(crate) rate_limit: u64,
    pub(crate) rate_period: Duration,
    pub(crate) max_retries: u32,
    pub(crate) retry_base: Duration,
    pub(crate) retry_max: Duration,
    pub(crate) pause_probe: Duration,
    /// POSTs in flight.
    pub(crate) concurrency: usize,
    pub(crate) breaker_enabled: bool,
    pub(crate) breaker_threshold: u64,
    pub(crate) breaker_timeout: Duration,
}

impl ForwarderSettings {
    pub(crate) fn from_vars(vars: &Vars) -> Result<Self, Faults> {
        let mut reader = Reader::new(vars);
        let r = &mut reader;
        let settings = Self {
            common: CommonSettings::read(r),
            redis: RedisSettings::read(r),
            metrics_port: r.port("METRICS_PORT_MOOG"),
            health_port: r.port("HEALTH_PORT_MOOG"),
            heartbeat_interval: r.seconds("MOOG_HEARTBEAT_INTERVAL", 0.1..=25.0),
            lease: r.seconds("MOOG_JANITOR_TIMEOUT", 1.0..=3_600.0),
            webhook_url: webhook_url(r),
            webhook_timeout: r.seconds("MOOG_WEBHOOK_TIMEOUT", 0.1..=600.0),
            webhook_ca: r.path("MOOG_CA_CERT_PATH"),
            rate_limit: r.number("MOOG_RATE_LIMIT", 0..=1_000_000),
            rate_period: r.seconds("MOOG_RATE_PERIOD", 0.1..=3_600.0),
            max_retries: r.number("MOOG_MAX_RETRIES", 0..=1_000),
            retry_base: r.seconds("MOOG_RETRY_BASE_DELAY", 0.01..=3_600.0),
            retry_max: r.seconds("MOOG_RETRY_MAX_DELAY", 0.01..=86_400.0),
            pause_probe: r.seconds("MOOG_PAUSE_PROBE_SECONDS", 0.1..=3_600.0),
            concurrency: r.number("MOOG_CONCURRENCY", 1..=1_000),
            breaker_enabled: r.flag("CIRCUIT_BREAKER_ENABLED"),
            breaker_threshold: r.number("CIRCUIT_BREAKER_THRESHOLD", 1..=1_000_000),
            breaker_timeout: r.seconds("CIRCUIT_BREAKER_TIMEOUT", 0.1..=86_400.0),
        };
        if settings.retry_base > settings.retry_max {
            r.fault("MOOG_RETRY_BASE_DELAY", "greater than MOOG_RETRY_MAX_DELAY");
        }
        distinct_ports(r, &[("METRICS_PORT_MOOG", settings.metrics_port), ("HEALTH_PORT_MOOG", settings.health_port)]);
        reader.finish(settings)
    }
}

fn webhook_url(reader: &mut Reader<'_>) -> url::Url {
    const NAME: &str = "MOOG_WEBHOOK_URL";
    let fallback = || url::Url::parse("http://invalid.invalid/").unwrap_or_else(|_| unreachable!("a constant URL"));
    let Some(text) = reader.given(NAME) else {
        reader.fault(NAME, "required: the URL that alerts are posted to");
        return fallback();
    };
    match url::Url::parse(text) {
        Ok(url) if !["http", "https"].contains(&url.scheme()) || !url.has_host() => {
            reader.fault(NAME, "expected http://… or https://…");
            fallback()
        }
        Ok(url) if url.password().is_some() => {
            reader.fault(NAME, "holds a password; the key is given by MOOG_API_KEY");
            fallback()
        }
        Ok(url) => url,
        Err(error) => {
            reader.fault(NAME, format!("not a URL: {error}"));
            fallback()
        }
    }
}

/// Settings of `mutt webui`.
#[derive(Clone, Debug)]
pub(crate) struct WebUiSettings {
    pub(crate) common: CommonSettings,
    pub(crate) redis: RedisSettings,
    pub(crate) database: DatabaseSettings,
    /// A read replica for searches.
    pub(crate) read_database: Option<DatabaseSettings>,
    pub(crate) port: u16,
    pub(crate) rules_source: RulesSource,
    pub(crate) metrics_cache_ttl: Duration,
    pub(crate) slo: SloSettings,
    pub(crate) page_size: u32,
}

impl WebUiSettings {
    pub(crate) fn from_vars(vars: &Vars) -> Result<Self, Faults> {
        let mut reader = Reader::new(vars);
        let r = &mut reader;
        let database = DatabaseSettings::read(r);
        let settings = Self {
            common: CommonSettings::read(r),
            redis: RedisSettings::read(r),
            read_database: r.given("DB_READ_HOST").map(|host| database.on_host(host)),
            database,
            port: r.port("SERVER_PORT_WEBUI"),
            rules_source: RulesSource::read(r),
            metrics_cache_ttl: r.seconds("METRICS_CACHE_TTL", 0.0..=3_600.0),
            slo: SloSettings::read(r),
            page_size: r.number("AUDIT_LOG_PAGE_SIZE", 1..=200),
        };
        reader.finish(settings)
    }
}

fn distinct_ports(reader: &mut Reader<'_>, ports: &[(&str, u16)]) {
    for (index, (name, port)) in ports.iter().enumerate() {
        if let Some((other, _)) = ports[..index].iter().find(|(_, earlier)| earlier == port) {
            reader.fault(name, format!("the same port as {other}"));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::Origin;
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        let mut vars = Vars::default();
        for (name, value) in pairs {
            vars.set(name, *value, Origin::Environment);
        }
        vars
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let ingestor = IngestorSettings::from_vars(&vars(&[])).unwrap();
        assert_eq!((ingestor.port, ingestor.max_queue_size, ingestor.max_body_bytes), (8080, 1_000_000, 16 << 20));
        assert!(ingestor.redis.tls && ingestor.source_limit.is_none());
        let alerter = AlerterSettings::from_vars(&vars(&[])).unwrap();
        assert_eq!((alerter.metrics_port, alerter.health_port, alerter.unhandled_threshold), (8081, 8082, 100));
        let forwarder = ForwarderSettings::from_vars(&vars(&[("MOOG_WEBHOOK_URL", "https://moog/x")])).unwrap();
        assert_eq!((forwarder.rate_limit, forwarder.max_retries, forwarder.breaker_threshold), (50, 5, 10));
        assert_eq!(WebUiSettings::from_vars(&vars(&[])).unwrap().port, 8090);
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let error = ForwarderSettings::from_vars(&vars(&[
            ("MOOG_RATE_LIMIT", "-1"),
            ("MOOG_MAX_RETRIES", "many"),
            ("CIRCUIT_BREAKER_ENABLED", "perhaps"),
            ("HEALTH_PORT_MOOG", "8083"),
            ("MOOG_RETRY_BASE_DELAY", "90"),
        ]))
        .unwrap_err();
        let text = error.to_string();
        for name in [
            "MOOG_RATE_LIMIT",
            "MOOG_MAX_RETRIES",
            "CIRCUIT_BREAKER_ENABLED",
            "HEALTH_PORT_MOOG",
            "MOOG_WEBHOOK_URL",
            "MOOG_RETRY_BASE_DELAY",
        ] {
            assert!(text.contains(name), "{name} missing in:\n{text}");
        }
    }

    #[test]
    fn combinations_that_cannot_work_are_refused() {
        for (pairs, name) in [
            (&[("INGEST_ACK", "replica")][..], "REDIS_WAIT_REPLICAS"),
            (&[("REQUIRED_FIELDS", "message")][..], "REQUIRED_FIELDS"),
        ] {
            assert!(IngestorSettings::from_vars(&vars(pairs)).unwrap_err().to_string().contains(name));
        }
        for (pairs, name) in [
            (&[("RULES_SOURCE", "dir")][..], "RULES_DIR"),
            (&[("RULES_DIR", "/rules")][..], "RULES_DIR"),
            (&[("DB_POOL_MAX_CONN", "2")][..], "DB_POOL_MAX_CONN"),
        ] {
            assert!(AlerterSettings::from_vars(&vars(pairs)).unwrap_err().to_string().contains(name));
        }
    }
}
