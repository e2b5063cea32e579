//! Every setting by name: default, meaning and the roles that read it. The command line, the settings file's check and
//! the README's table are all made from this list.

use std::fmt::Write;

use super::Role::{self, Alerter, Forwarder, Ingestor, Relay, Tool, WebUi};

/// One setting: an environment variable that is also a flag (`MAX_INGEST_QUEUE_SIZE` = `--max-ingest-queue-size`).
pub(crate) struct Setting {
    /// Name of the environment variable.
    pub(crate) name: &'static str,
    /// Default as the documentation shows it; `""` = none.
    pub(crate) default: &'static str,
    /// Meaning, with the unit.
    pub(crate) help: &'static str,
    /// Roles that read it.
    pub(crate) roles: &'static [Role],
}

const fn setting(name: &'static str, default: &'static str, roles: &'static [Role], help: &'static str) -> Setting {
    Setting { name, default, help, roles }
}

const ALL: &[Role] = &[Ingestor, Alerter, Forwarder, WebUi, Tool];
const PROCESSES: &[Role] = &[Ingestor, Alerter, Forwarder, WebUi, Relay, Tool];
const SENDERS: &[Role] = &[Relay, Tool];
const SERVICES: &[Role] = &[Ingestor, Alerter, Forwarder, WebUi];
const DATABASE: &[Role] = &[Alerter, WebUi, Tool];
const RULES: &[Role] = &[Alerter, WebUi, Tool];

/// The settings, grouped as in the documentation.
pub(crate) const SETTINGS: &[Setting] = &[
    setting("POD_NAME", "", PROCESSES, "Name of this instance in worker names and logs; default: the host name"),
    setting(
        "LOG_LEVEL",
        "INFO",
        PROCESSES,
        "ERROR, WARN, INFO, DEBUG or TRACE, or a tracing filter such as `mutt=debug`",
    ),
    setting("LOG_FORMAT", "", PROCESSES, "text or json; default: text on a terminal, else json"),
    setting("LOG_DIR", "", PROCESSES, "Directory for log files (one per role, appended); default: standard error"),
    setting(
        "SHUTDOWN_TIMEOUT",
        "25",
        &[Ingestor, Alerter, Forwarder, WebUi, Relay],
        "Seconds a role may take to drain after SIGTERM",
    ),
    setting(
        "REDIS_URL",
        "",
        ALL,
        "redis:// or rediss:// (TLS), host, port, database; wins over REDIS_HOST and REDIS_PORT",
    ),
    setting("REDIS_HOST", "localhost", ALL, "Host of Redis"),
    setting("REDIS_PORT", "6379", ALL, "Port of Redis"),
    setting("REDIS_TLS_ENABLED", "true", ALL, "TLS to Redis; with REDIS_URL its scheme decides"),
    setting("REDIS_CA_CERT_PATH", "", ALL, "PEM file of the CA that signed Redis' certificate; default: the system's"),
    setting("REDIS_USERNAME", "", ALL, "ACL user of Redis"),
    setting("REDIS_KEY_PREFIX", "mutt", ALL, "Prefix of every key; `{mutt}` for Redis Cluster"),
    setting(
        "REDIS_WAIT_REPLICAS",
        "0",
        &[Ingestor],
        "Replicas that must have an event before 200 (with INGEST_ACK=replica)",
    ),
    setting(
        "REDIS_MAX_CONNECTIONS",
        "20",
        ALL,
        "Taken over from MUTT 2.x without effect: a process has at most six connections",
    ),
    setting("REDIS_SENTINELS", "", ALL, "Not in this version: refused with a message"),
    setting("REDIS_SENTINEL_MASTER", "", ALL, "Not in this version: refused with a message"),
    setting("DATABASE_URL", "", DATABASE, "postgres://user@host:port/database?sslmode=…; wins over DB_HOST … DB_NAME"),
    setting("DB_HOST", "localhost", DATABASE, "Host of PostgreSQL"),
    setting("DB_PORT", "5432", DATABASE, "Port of PostgreSQL"),
    setting("DB_NAME", "mutt_db", DATABASE, "Database"),
    setting("DB_USER", "mutt_user", DATABASE, "User of PostgreSQL (may also come as a secret)"),
    setting("DB_TLS_ENABLED", "true", DATABASE, "TLS to PostgreSQL, certificate and host name verified"),
    setting(
        "DB_TLS_CA_CERT_PATH",
        "",
        DATABASE,
        "PEM file of the CA that signed PostgreSQL's certificate; default: the public CAs",
    ),
    setting("DB_POOL_MIN_CONN", "2", DATABASE, "Connections kept open"),
    setting("DB_POOL_MAX_CONN", "10", DATABASE, "Most connections of one process"),
    setting("DB_READ_HOST", "", &[WebUi], "Host of a read replica for searches of the Web UI"),
    setting("VAULT_ADDR", "", ALL, "Not in this version: refused with a message"),
    setting("SERVER_TLS_CERT_PATH", "", SERVICES, "PEM certificate chain of the HTTP ports; re-read when it changes"),
    setting("SERVER_TLS_KEY_PATH", "", SERVICES, "PEM private key of the HTTP ports"),
    setting(
        "SERVER_TLS_CLIENT_CA_PATH",
        "",
        SERVICES,
        "PEM file of a CA; then clients must present a certificate of it",
    ),
    setting("SERVER_PORT_INGESTOR", "8080", &[Ingestor], "Port of the ingest API, health and metrics"),
    setting("INGEST_THREADS", "1", &[Ingestor], "Threads that serve requests"),
    setting(
        "INGEST_QUEUE_NAME",
        "mutt:ingest_queue",
        &[Ingestor, Alerter, Tool],
        "Key of the queue of events; default follows the prefix",
    ),
    setting("MAX_INGEST_QUEUE_SIZE", "1000000", &[Ingestor], "Events in the queue from which on 503 is answered"),
    setting(
        "INGEST_MAX_REDIS_BYTES",
        "0",
        &[Ingestor],
        "Bytes used by Redis from which on 503 is answered; 0 = 80 % of maxmemory, or of the machine's memory where that is 0",
    ),
    setting(
        "INGEST_MAX_BODY_BYTES",
        "16777216",
        &[Ingestor],
        "Bytes of a request body, before and after decompression",
    ),
    setting(
        "INGEST_PUSH_TIMEOUT",
        "5",
        &[Ingestor],
        "Seconds until a push whose result cannot be learned is answered 503",
    ),
    setting(
        "INGEST_ACK",
        "memory",
        &[Ingestor],
        "What 200 means: memory (Redis has it), fsync (WAITAOF, Redis 7.2), replica (WAIT)",
    ),
    setting("INGEST_DLQ_MAX", "100000", &[Ingestor], "Most refused items of batches kept in dlq:ingest"),
    setting("INGEST_MAX_CONNECTIONS", "10000", &[Ingestor], "Most open connections of senders"),
    setting(
        "METRICS_PREFIX",
        "mutt:metrics",
        &[Ingestor, WebUi],
        "Key prefix of the summary counters; default follows the prefix",
    ),
    setting("REQUIRED_FIELDS", "hostname,message,timestamp", &[Ingestor], "Fields an event must have, non-empty"),
    setting("RATE_LIMIT_ENABLED", "false", &[Ingestor], "Limit of events per source address"),
    setting("INGEST_MAX_RATE", "1000", &[Ingestor], "Events per window and source"),
    setting("INGEST_RATE_WINDOW", "60", &[Ingestor], "Seconds of the window"),
    setting("METRICS_PORT_ALERTER", "8081", &[Alerter], "Port of /metrics"),
    setting("HEALTH_PORT_ALERTER", "8082", &[Alerter], "Port of /live, /ready and /health"),
    setting(
        "ALERT_QUEUE_NAME",
        "mutt:alert_queue",
        &[Alerter, Forwarder, Tool],
        "Key of the queue of alerts; default follows the prefix",
    ),
    setting(
        "ALERTER_PROCESSING_LIST_PREFIX",
        "mutt:processing:alerter",
        &[Alerter, Tool],
        "Key prefix of batches in flight; default follows the prefix",
    ),
    setting(
        "ALERTER_HEARTBEAT_PREFIX",
        "mutt:heartbeat:alerter",
        &[Alerter, Tool],
        "Key prefix of heartbeats; default follows the prefix",
    ),
    setting("ALERTER_HEARTBEAT_INTERVAL", "10", &[Alerter], "Seconds between heartbeats"),
    setting("ALERTER_JANITOR_TIMEOUT", "30", &[Alerter], "Seconds a lease lasts without renewal"),
    setting(
        "ALERTER_DLQ_NAME",
        "mutt:dlq:alerter",
        &[Alerter, Tool],
        "Key of the alerter's dead letters; default follows the prefix",
    ),
    setting(
        "ALERTER_MAX_RETRIES",
        "3",
        &[Alerter],
        "Lapses while matching after which a batch is processed one event at a time",
    ),
    setting(
        "ALERTER_QUEUE_SHED_THRESHOLD",
        "1000000",
        &[Alerter],
        "Alerts in alert_queue above which the alerter waits",
    ),
    setting("ALERTER_LANES", "3", &[Alerter], "Batches in flight at once, each with a database connection"),
    setting("RULES_SOURCE", "postgres", RULES, "postgres, dir or redis"),
    setting("RULES_DIR", "", RULES, "Directory of AlertRule files, with RULES_SOURCE=dir"),
    setting("RULES_POLL_INTERVAL", "1", &[Alerter], "Seconds between looks for a changed rule set"),
    setting(
        "CACHE_RELOAD_INTERVAL",
        "300",
        &[Alerter],
        "Seconds after which rules are read again whatever the revision",
    ),
    setting("AUDIT_SCOPE", "all", &[Alerter], "all, or handled = no audit rows for events that no rule takes"),
    setting(
        "UNHANDLED_PREFIX",
        "mutt:unhandled",
        &[Alerter],
        "Key prefix of the counters of unhandled events; default follows the prefix",
    ),
    setting("UNHANDLED_THRESHOLD", "100", &[Alerter], "Unhandled events of one kind that raise a meta-alert"),
    setting("UNHANDLED_EXPIRY_SECONDS", "86400", &[Alerter], "Seconds, from the first event, within which they count"),
    setting("UNHANDLED_DEFAULT_TEAM", "NETO", &[Alerter], "Team of meta-alerts of hosts without a team"),
    setting(
        "UNHANDLED_SIGNATURE",
        "masked",
        &[Alerter],
        "masked (numbers and addresses do not tell kinds apart) or exact",
    ),
    setting("METRICS_PORT_MOOG", "8083", &[Forwarder], "Port of /metrics"),
    setting("HEALTH_PORT_MOOG", "8084", &[Forwarder], "Port of /live, /ready and /health"),
    setting(
        "MOOG_PROCESSING_LIST_PREFIX",
        "mutt:processing:moog",
        &[Forwarder, Tool],
        "Key prefix of alerts in flight; default follows the prefix",
    ),
    setting(
        "MOOG_DLQ_NAME",
        "mutt:dlq:moog",
        &[Forwarder, Tool],
        "Key of the forwarder's dead letters; default follows the prefix",
    ),
    setting(
        "MOOG_HEARTBEAT_PREFIX",
        "mutt:heartbeat:moog",
        &[Forwarder, Tool],
        "Key prefix of heartbeats; default follows the prefix",
    ),
    setting("MOOG_HEARTBEAT_INTERVAL", "10", &[Forwarder], "Seconds between heartbeats"),
    setting("MOOG_JANITOR_TIMEOUT", "30", &[Forwarder], "Seconds a lease lasts without renewal"),
    setting("MOOG_WEBHOOK_URL", "", &[Forwarder], "Where alerts are posted; required"),
    setting("MOOG_WEBHOOK_TIMEOUT", "10", &[Forwarder], "Seconds until a POST is given up"),
    setting("MOOG_CA_CERT_PATH", "", &[Forwarder], "PEM file of the CA that signed the webhook's certificate"),
    setting("MOOG_RATE_LIMIT", "50", &[Forwarder], "Alerts per period over all forwarders; 0 = no limit"),
    setting("MOOG_RATE_PERIOD", "1", &[Forwarder], "Seconds of the period"),
    setting(
        "MOOG_RATE_LIMIT_KEY",
        "mutt:rate_limit:moog",
        &[Forwarder, Tool],
        "Key of the shared window; default follows the prefix",
    ),
    setting("MOOG_MAX_RETRIES", "5", &[Forwarder], "Failed attempts after the first before an alert is a dead letter"),
    setting("MOOG_RETRY_BASE_DELAY", "1.0", &[Forwarder], "Seconds before the first retry; doubles each time"),
    setting("MOOG_RETRY_MAX_DELAY", "60.0", &[Forwarder], "Most seconds between retries"),
    setting("MOOG_PAUSE_PROBE_SECONDS", "30", &[Forwarder], "Seconds between probes after 401, 403 or 404"),
    setting("MOOG_CONCURRENCY", "64", &[Forwarder], "POSTs in flight of one forwarder"),
    setting("CIRCUIT_BREAKER_ENABLED", "true", &[Forwarder], "Stop posting after failures in a row"),
    setting(
        "CIRCUIT_BREAKER_THRESHOLD",
        "10",
        &[Forwarder],
        "Failures in a row, over all forwarders, that open the breaker",
    ),
    setting("CIRCUIT_BREAKER_TIMEOUT", "300", &[Forwarder], "Seconds until an open breaker lets one probe through"),
    setting(
        "INGEST_URL",
        "http://localhost:8080",
        SENDERS,
        "Where events are sent: the ingestor, or its ingest resource",
    ),
    setting(
        "INGEST_CA_CERT_PATH",
        "",
        SENDERS,
        "PEM file of the CA that signed the ingestor's certificate; default: the system's",
    ),
    setting(
        "RELAY_SPOOL_DIR",
        "/var/spool/mutt",
        &[Relay],
        "Directory of lines that are confirmed to rsyslog and not sent yet",
    ),
    setting(
        "RELAY_SPOOL_MAX_BYTES",
        "1073741824",
        &[Relay],
        "Bytes that may wait there; above it rsyslog keeps its messages",
    ),
    setting("RELAY_BATCH_LINES", "1000", &[Relay], "Most events of a request"),
    setting("RELAY_BATCH_BYTES", "1048576", &[Relay], "Most bytes of a request, unless one event is larger"),
    setting("RELAY_GZIP", "false", &[Relay], "Compress requests"),
    setting("RELAY_TIMEOUT", "30", &[Relay], "Seconds until a request without an answer is sent again"),
    setting("SERVER_PORT_WEBUI", "8090", &[WebUi], "Port of the Web UI and its API"),
    setting("METRICS_CACHE_TTL", "5", &[WebUi], "Seconds that the metrics summary and the objectives may be old"),
    setting("AUDIT_LOG_PAGE_SIZE", "50", &[WebUi], "Rows of a page when `limit` is not given"),
    setting(
        "PROMETHEUS_URL",
        "http://localhost:9090",
        &[WebUi, Tool],
        "Prometheus that records the objectives (SLOs); `mutt status` asks it only where this is set",
    ),
    setting(
        "SLO_SELECTOR",
        "",
        &[WebUi, Tool],
        "Labels of this pipeline's series in Prometheus, where it holds several: namespace=\"netops\",pipeline=\"core\"",
    ),
];

/// Names that are secrets: valid in the environment and in a settings file, never flags. Each may end in `_FILE`.
pub(crate) fn secret_names() -> impl Iterator<Item = &'static str> {
    mutt_secrets::SecretName::ALL.into_iter().flat_map(|name| name.keys().iter().copied())
}

/// The setting of this name.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The settings and secrets as Markdown tables, for the README.
pub(crate) fn markdown() -> String {
    let mut text = String::from("| setting | default | read by | meaning |\n|---|---|---|---|\n");
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { "–".to_owned() } else { format!("`{}`", setting.default) };
        let roles = if setting.roles.len() == ALL.len() {
            "all".to_owned()
        } else {
            setting.roles.iter().map(|role| role.word()).collect::<Vec<_>>().join(", ")
        };
        let Setting { name, help, .. } = setting;
        let _ = writeln!(text, "| `{name}` | {default} | {roles} | {help} |");
    }
    text.push_str("\nSecrets (environment, or a file named by `<NAME>_FILE`): ");
    text.push_str(&secret_names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "));
    text.push_str(".\n");
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- settings: generated by `make golden` -->\n";
    const END: &str = "<!-- /settings -->";

    #[test]
    fn golden_the_readme_shows_every_setting() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let (before, rest) = readme.split_once(BEGIN).unwrap();
        let (table, after) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, format!("{before}{BEGIN}{}{END}{after}", markdown())).unwrap();
        } else {
            assert!(table == markdown(), "the README's settings table is old: run `make golden`");
        }
    }

    #[test]
    fn no_setting_is_named_twice() {
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).chain(secret_names()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        // DB_USER is a setting that may also come as a secret.
        assert_eq!(names.len() + 1, count);
    }
}
