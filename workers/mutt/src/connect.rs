//! Clients of Redis, PostgreSQL and TLS servers, made from settings and secrets.

mod nagle;

use std::{path::Path, sync::Arc, time::Duration};

use mutt_queue::{KeyOverrides, Keys, Passwords, RedisTls};
use mutt_secrets::{Pair, Secret, SecretName, Secrets};
use rustls::{ClientConfig, RootCertStore};
use sqlx::{
    ConnectOptions, Connection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use tokio::time::sleep;

use crate::{
    server::roots,
    settings::{DatabaseSettings, RedisSettings},
    worker::{Fatal, Shutdown},
};

/// How long a caller waits for a connection of the pool before it is told that PostgreSQL is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a pool looks whether its password was rotated.
const PASSWORD_INTERVAL: Duration = Duration::from_secs(3);

/// The names of all keys.
pub(crate) fn keys(settings: &RedisSettings) -> Arc<Keys> {
    let set = |name: &str| settings.key_overrides.iter().find(|(n, _)| *n == name).map(|(_, key)| key.clone());
    let overrides = KeyOverrides {
        ingest_queue: set("INGEST_QUEUE_NAME"),
        alert_queue: set("ALERT_QUEUE_NAME"),
        processing_alerter: set("ALERTER_PROCESSING_LIST_PREFIX"),
        processing_moog: set("MOOG_PROCESSING_LIST_PREFIX"),
        heartbeat_alerter: set("ALERTER_HEARTBEAT_PREFIX"),
        heartbeat_moog: set("MOOG_HEARTBEAT_PREFIX"),
        dlq_alerter: set("ALERTER_DLQ_NAME"),
        dlq_moog: set("MOOG_DLQ_NAME"),
        unhandled: set("UNHANDLED_PREFIX"),
        metrics: set("METRICS_PREFIX"),
        rate_limit_moog: set("MOOG_RATE_LIMIT_KEY"),
    };
    Arc::new(Keys::with(&settings.prefix, overrides))
}

/// Everything a connection to Redis needs; each thread makes its own `Redis` from it.
pub(crate) fn redis(settings: &RedisSettings, secrets: &Secrets) -> mutt_queue::RedisSettings {
    let mut redis = mutt_queue::RedisSettings::new(settings.host.clone(), settings.port);
    redis.database = settings.database;
    redis.username.clone_from(&settings.username);
    redis.tls = settings.tls.then(|| RedisTls { ca_path: settings.ca.clone(), ..RedisTls::default() });
    redis.passwords = Arc::new(RotatingPasswords { secrets: secrets.clone(), fallback: settings.url_password.clone() });
    redis
}

struct RotatingPasswords {
    secrets: Secrets,
    fallback: Option<Secret>,
}

impl Passwords for RotatingPasswords {
    fn candidates(&self) -> Vec<String> {
        candidates(&self.secrets, Pair::Redis, self.fallback.as_ref())
    }
}

fn candidates(secrets: &Secrets, pair: Pair, fallback: Option<&Secret>) -> Vec<String> {
    let values = secrets.pair(pair);
    let values = if values.is_empty() { fallback.cloned().into_iter().collect() } else { values };
    values.iter().map(|secret| secret.expose().to_owned()).collect()
}

/// A pool that connects when first used. While two passwords are valid, and whenever they change, a task finds the one
/// that the server takes; so a rotation needs no restart.
pub(crate) fn postgres(settings: &DatabaseSettings, secrets: &Secrets, shutdown: &Shutdown) -> PgPool {
    let passwords = candidates(secrets, Pair::Database, settings.url_password.as_ref());
    let port = settings.port;
    let pool = PgPoolOptions::new()
        .min_connections(settings.pool_min)
        .max_connections(settings.pool_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |_, _| {
            if let Err(error) = nagle::switch_off(port) {
                tracing::debug!(%error, "connections to PostgreSQL wait for acknowledgements");
            }
            Box::pin(async { Ok(()) })
        })
        .connect_lazy_with(postgres_options(settings, secrets, passwords.first().map(String::as_str)));
    tokio::spawn(follow_password(pool.clone(), settings.clone(), secrets.clone(), shutdown.clone()));
    pool
}

/// Options of one connection with this password.
fn postgres_options(settings: &DatabaseSettings, secrets: &Secrets, password: Option<&str>) -> PgConnectOptions {
    let user = secrets.get(SecretName::DbUser).map(|user| user.expose().to_owned());
    let user = settings.user.clone().or(user).unwrap_or_else(|| "mutt_user".to_owned());
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&settings.host)
        .port(settings.port)
        .database(&settings.database)
        .username(&user)
        .application_name("mutt")
        .ssl_mode(if settings.tls { PgSslMode::VerifyFull } else { PgSslMode::Disable })
        .disable_statement_logging();
    if let Some(password) = password {
        options = options.password(password);
    }
    if let Some(ca) = &settings.ca {
        options = options.ssl_root_cert(ca);
    }
    options
}

async fn follow_password(pool: PgPool, settings: DatabaseSettings, secrets: Secrets, shutdown: Shutdown) {
    let mut used = candidates(&secrets, Pair::Database, settings.url_password.as_ref());
    let mut first_round = true;
    loop {
        let now = candidates(&secrets, Pair::Database, settings.url_password.as_ref());
        if now != used || (now.len() > 1) {
            for password in &now {
                let options = postgres_options(&settings, &secrets, Some(password));
                match options.connect().await {
                    Ok(connection) => {
                        pool.set_connect_options(options);
                        if now != used || first_round {
                            tracing::info!("password of PostgreSQL verified");
                        }
                        let _ = connection.close().await;
                        break;
                    }
                    Err(error) => tracing::debug!(%error, "a password candidate was not taken"),
                }
            }
            used = now;
            first_round = false;
        }
        tokio::select! {
            () = sleep(PASSWORD_INTERVAL) => {}
            () = pool.close_event() => return,
            () = shutdown.requested() => return,
        }
    }
}

/// TLS towards a server that is verified by the CAs of a PEM file, or by the system's where none is given.
pub(crate) fn tls_client(ca: Option<&Path>) -> Result<ClientConfig, Fatal> {
    let roots = match ca {
        Some(path) => {
            roots(path).map_err(|error| Fatal::failed(format!("cannot use the CA file {}", path.display()), error))?
        }
        None => system_roots(),
    };
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::warn!(%error, "a system certificate cannot be read");
    }
    roots.add_parsable_certificates(loaded.certs);
    roots
}
