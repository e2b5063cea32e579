//! Settings that several roles share: logs, connections, TLS of the ports.

use std::{path::PathBuf, time::Duration};

use mutt_secrets::Secret;

use super::{Fault, Faults, Origin, Reader, Vars};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Where log lines go.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    /// A tracing filter.
    pub(crate) filter: String,
    /// `None`: text on a terminal, else JSON.
    pub(crate) format: Option<LogFormat>,
    /// `None`: standard error.
    pub(crate) directory: Option<PathBuf>,
}

/// PEM files of the HTTP ports.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Clients must present a certificate of this CA.
    pub(crate) client_ca: Option<PathBuf>,
}

/// What every process needs.
#[derive(Clone, Debug)]
pub(crate) struct CommonSettings {
    pub(crate) pod_name: String,
    pub(crate) log: LogSettings,
    pub(crate) shutdown_timeout: Duration,
    /// TLS of the HTTP ports.
    pub(crate) tls: Option<ServerTls>,
}

/// Where Redis is and how keys are named.
#[derive(Clone, Debug)]
pub(crate) struct RedisSettings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: i64,
    pub(crate) tls: bool,
    /// PEM file; `None` = the system's roots.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) username: Option<String>,
    /// A password inside REDIS_URL; secrets win over it.
    pub(crate) url_password: Option<Secret>,
    pub(crate) prefix: String,
    /// Keys set explicitly: setting name, key.
    pub(crate) key_overrides: Vec<(&'static str, String)>,
}

/// Where PostgreSQL is.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseSettings {
    /// Host name, address, or directory of a Unix socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    /// `None`: the secret DB_USER, else `mutt_user`.
    pub(crate) user: Option<String>,
    /// A password inside DATABASE_URL; secrets win over it.
    pub(crate) url_password: Option<Secret>,
    /// TLS with the certificate and host name verified.
    pub(crate) tls: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) pool_min: u32,
    pub(crate) pool_max: u32,
}

impl CommonSettings {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let format = match reader.given("LOG_FORMAT") {
            None => None,
            Some(_) => Some(reader.one_of("LOG_FORMAT", &[("text", LogFormat::Text), ("json", LogFormat::Json)])),
        };
        let filter = reader.text("LOG_LEVEL");
        if let Err(error) = filter.parse::<tracing_subscriber::EnvFilter>() {
            reader.fault("LOG_LEVEL", format!("`{filter}` is neither a level nor a filter: {error}"));
        }
        Self {
            pod_name: reader.given("POD_NAME").map_or_else(host_name, str::to_owned),
            log: LogSettings { filter, format, directory: reader.path("LOG_DIR") },
            shutdown_timeout: reader.seconds("SHUTDOWN_TIMEOUT", 0.1..=3600.0),
            tls: server_tls(reader),
        }
    }
}

/// The machine's name: the kernel's, as `hostname` prints it.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn server_tls(reader: &mut Reader<'_>) -> Option<ServerTls> {
    let (certificate, key) = (reader.path("SERVER_TLS_CERT_PATH"), reader.path("SERVER_TLS_KEY_PATH"));
    let client_ca = reader.path("SERVER_TLS_CLIENT_CA_PATH");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(ServerTls { certificate, key, client_ca }),
        (None, None) if client_ca.is_none() => None,
        (certificate, _) => {
            let missing = if certificate.is_none() { "SERVER_TLS_CERT_PATH" } else { "SERVER_TLS_KEY_PATH" };
            reader.fault(missing, "needed, since other SERVER_TLS_* settings are given");
            None
        }
    }
}

impl RedisSettings {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        fail_unsupported(reader);
        // A pool's size in MUTT 2.x; a process has at most six connections now, whatever it says.
        let _: u32 = reader.number("REDIS_MAX_CONNECTIONS", 1..=10_000);
        let mut settings = Self {
            host: reader.text("REDIS_HOST"),
            port: reader.port("REDIS_PORT"),
            database: 0,
            tls: reader.flag("REDIS_TLS_ENABLED"),
            ca: reader.path("REDIS_CA_CERT_PATH"),
            username: reader.given("REDIS_USERNAME").map(str::to_owned),
            url_password: None,
            prefix: reader.text("REDIS_KEY_PREFIX"),
            key_overrides: KEY_SETTINGS
                .iter()
                .filter_map(|name| Some((*name, reader.given(name)?.to_owned())))
                .collect(),
        };
        if settings.prefix.len() > 64 || settings.prefix.chars().any(|c| c.is_whitespace() || c.is_control()) {
            reader.fault("REDIS_KEY_PREFIX", "at most 64 bytes without spaces");
        }
        if let Some(text) = reader.given("REDIS_URL") {
            settings.take_url(reader, text);
        }
        settings
    }

    fn take_url(&mut self, reader: &mut Reader<'_>, text: &str) {
        const NAME: &str = "REDIS_URL";
        let url = match url::Url::parse(text) {
            Ok(url) if ["redis", "rediss"].contains(&url.scheme()) && url.has_host() => url,
            _ => return reader.fault(NAME, "expected redis://host:port/database or rediss://…"),
        };
        self.tls = url.scheme() == "rediss";
        self.host = bare_host(&url);
        self.port = url.port().unwrap_or(6379);
        if !url.username().is_empty() {
            self.username = Some(decoded(url.username()));
        }
        self.url_password = url_password(reader, NAME, &url, "REDIS_PASS");
        match url.path().trim_matches('/') {
            "" => {}
            path => match path.parse() {
                Ok(database) => self.database = database,
                Err(_) => reader.fault(NAME, format!("the path `{path}` is not the number of a database")),
            },
        }
    }
}

/// Settings that name a key explicitly.
const KEY_SETTINGS: &[&str] = &[
    "INGEST_QUEUE_NAME",
    "ALERT_QUEUE_NAME",
    "METRICS_PREFIX",
    "ALERTER_PROCESSING_LIST_PREFIX",
    "ALERTER_HEARTBEAT_PREFIX",
    "ALERTER_DLQ_NAME",
    "UNHANDLED_PREFIX",
    "MOOG_PROCESSING_LIST_PREFIX",
    "MOOG_DLQ_NAME",
    "MOOG_HEARTBEAT_PREFIX",
    "MOOG_RATE_LIMIT_KEY",
];

/// Refuses what this version cannot do yet, rather than ignoring it.
fn fail_unsupported(reader: &mut Reader<'_>) {
    for name in ["REDIS_SENTINELS", "REDIS_SENTINEL_MASTER"] {
        if reader.given(name).is_some() {
            reader.fault(name, "Redis Sentinel is not supported in this version; give REDIS_URL of the primary");
        }
    }
    if reader.given("VAULT_ADDR").is_some() {
        reader
            .fault("VAULT_ADDR", "Vault is not supported in this version; give secrets by environment or <NAME>_FILE");
    }
}

impl DatabaseSettings {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let mut settings = Self {
            host: reader.text("DB_HOST"),
            port: reader.port("DB_PORT"),
            database: reader.text("DB_NAME"),
            user: reader.given("DB_USER").map(str::to_owned),
            url_password: None,
            tls: reader.flag("DB_TLS_ENABLED"),
            ca: reader.path("DB_TLS_CA_CERT_PATH"),
            pool_min: reader.number("DB_POOL_MIN_CONN", 0..=1_000),
            pool_max: reader.number("DB_POOL_MAX_CONN", 1..=1_000),
        };
        if settings.pool_min > settings.pool_max {
            reader.fault("DB_POOL_MIN_CONN", "greater than DB_POOL_MAX_CONN");
        }
        if let Some(text) = reader.given("DATABASE_URL") {
            settings.take_url(reader, text);
        }
        settings
    }

    /// The same server and database on another host.
    pub(crate) fn on_host(&self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self.clone() }
    }

    fn take_url(&mut self, reader: &mut Reader<'_>, text: &str) {
        const NAME: &str = "DATABASE_URL";
        let url = match url::Url::parse(text) {
            Ok(url) if ["postgres", "postgresql"].contains(&url.scheme()) => url,
            _ => return reader.fault(NAME, "expected postgres://user@host:port/database"),
        };
        self.host = bare_host(&url);
        self.port = url.port().unwrap_or(5432);
        if !url.username().is_empty() {
            self.user = Some(decoded(url.username()));
        }
        self.url_password = url_password(reader, NAME, &url, "DB_PASS");
        let database = decoded(url.path().trim_start_matches('/'));
        if !database.is_empty() {
            self.database = database;
        }
        for (key, value) in url.query_pairs() {
            match (key.as_ref(), value.as_ref()) {
                ("host", directory) => directory.clone_into(&mut self.host),
                ("port", port) => match port.parse() {
                    Ok(port) => self.port = port,
                    Err(_) => reader.fault(NAME, "port= is not a port"),
                },
                ("user", user) => self.user = Some(user.to_owned()),
                ("dbname", name) => name.clone_into(&mut self.database),
                ("sslmode", "disable") => self.tls = false,
                ("sslmode", "verify-full") => self.tls = true,
                ("sslmode", mode) => reader.fault(
                    NAME,
                    format!(
                        "sslmode={mode} does not verify the server; use verify-full, or disable on a trusted network"
                    ),
                ),
                ("sslrootcert", path) => self.ca = Some(path.into()),
                ("application_name" | "connect_timeout", _) => {}
                (other, _) => reader.fault(NAME, format!("the parameter {other} is not supported")),
            }
        }
        if self.host.is_empty() {
            reader.fault(NAME, "no host");
        }
    }
}

/// The host without the brackets of an IPv6 address.
fn bare_host(url: &url::Url) -> String {
    decoded(url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']'))
}

/// A password in a URL that came on the command line would stand in every process list.
fn url_password(reader: &mut Reader<'_>, name: &str, url: &url::Url, instead: &str) -> Option<Secret> {
    let password = decoded(url.password()?);
    if reader.vars().origin(name) == Some(Origin::Flag) {
        reader
            .fault(name, format!("holds a password, and flags are seen by everyone; give {instead} or {instead}_FILE"));
    }
    Some(Secret::new(password))
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Reads the secrets that the variables name.
pub(crate) fn read_secrets(vars: &Vars) -> Result<mutt_secrets::Secrets, Faults> {
    mutt_secrets::Secrets::from_variables(&vars.to_map())
        .map_err(|error| Faults(error.0.iter().map(|fault| Fault::new("secret", fault.to_string())).collect()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)], origin: Origin) -> Vars {
        let mut vars = Vars::default();
        for (name, value) in pairs {
            vars.set(name, *value, origin);
        }
        vars
    }

    #[test]
    fn the_scheme_of_redis_url_decides_about_tls() {
        for (url, tls, host, port, database) in [
            ("redis://redis:7000/3", false, "redis", 7000, 3),
            ("rediss://[::1]", true, "::1", 6379, 0),
            ("redis://user:p%40ss@h", false, "h", 6379, 0),
        ] {
            let vars = vars(&[("REDIS_URL", url)], Origin::Environment);
            let mut reader = Reader::new(&vars);
            let redis = RedisSettings::read(&mut reader);
            let redis = reader.finish(redis).unwrap();
            assert_eq!(
                (redis.tls, redis.host.as_str(), redis.port, redis.database),
                (tls, host, port, database),
                "{url}"
            );
        }
    }

    #[test]
    fn a_password_in_a_url_flag_is_refused_and_in_the_environment_taken() {
        let pairs = [("DATABASE_URL", "postgres://me:secret@db/mutt")];
        let flags = vars(&pairs, Origin::Flag);
        let mut reader = Reader::new(&flags);
        let settings = DatabaseSettings::read(&mut reader);
        let text = reader.finish(settings).unwrap_err().to_string();
        assert!(text.contains("DB_PASS_FILE") && !text.contains("secret"), "{text}");
        let environment = vars(&pairs, Origin::Environment);
        let mut reader = Reader::new(&environment);
        let settings = DatabaseSettings::read(&mut reader);
        let settings = reader.finish(settings).unwrap();
        assert_eq!(settings.url_password.unwrap().expose(), "secret");
        assert!(settings.tls, "TLS unless it is switched off");
    }

    #[test]
    fn weak_sslmodes_and_half_a_certificate_are_faults() {
        let vars = vars(
            &[
                ("DATABASE_URL", "postgres://me@db/mutt?sslmode=prefer"),
                ("SERVER_TLS_CERT_PATH", "/c"),
                ("REDIS_SENTINELS", "a:1"),
                ("REDIS_URL", "http://x"),
            ],
            Origin::Environment,
        );
        let mut reader = Reader::new(&vars);
        DatabaseSettings::read(&mut reader);
        CommonSettings::read(&mut reader);
        RedisSettings::read(&mut reader);
        let text = reader.finish(()).unwrap_err().to_string();
        for name in ["sslmode=prefer", "SERVER_TLS_KEY_PATH", "REDIS_SENTINELS", "REDIS_URL"] {
            assert!(text.contains(name), "{name} missing in {text}");
        }
    }
}
