//! How a connection is opened: address, TLS, passwords in rotation, time limits.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, TlsCertificates,
};

use crate::error::RedisError;

/// Where passwords come from; asked at each attempt to connect, so that a rotation needs no restart.
pub trait Passwords: Send + Sync {
    /// The passwords to try in this order, normally CURRENT and then NEXT; none = no AUTH.
    fn candidates(&self) -> Vec<String>;
}

impl Passwords for Vec<String> {
    fn candidates(&self) -> Vec<String> {
        self.clone()
    }
}

/// TLS towards Redis; files are PEM and read again at each attempt to connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// File of the authorities to trust; `None` = `ca_pem`, else those of the system.
    pub ca_path: Option<PathBuf>,
    /// The authorities themselves, where they do not come from a file.
    pub ca_pem: Option<Vec<u8>>,
    /// Certificate chain and key of the client, where Redis asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Everything that a connection to Redis needs to know.
#[derive(Clone)]
pub struct RedisSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database number.
    pub database: i64,
    /// ACL user; `None` = the default user.
    pub username: Option<String>,
    /// TLS; `None` = plain TCP.
    pub tls: Option<RedisTls>,
    /// Passwords in rotation.
    pub passwords: Arc<dyn Passwords>,
    /// Bound of one attempt to connect, TLS and AUTH included.
    pub connect_timeout: Duration,
    /// Bound of one answer; a connection that misses it is replaced.
    pub response_timeout: Duration,
}

impl RedisSettings {
    /// Plain TCP to `host:port`, no password, 2 s for connecting and for each answer.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            database: 0,
            username: None,
            tls: None,
            passwords: Arc::new(Vec::new()),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(2),
        }
    }

    /// From `redis[s]://[user][:password]@host[:port][/database]`.
    ///
    /// # Errors
    /// `NotSent` with the reason (never with the URL, which may hold a password).
    pub fn from_url(url: &str) -> Result<Self, RedisError> {
        let info = url.into_connection_info().map_err(|_| RedisError::not_sent("the URL of Redis does not parse"))?;
        let (host, port, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port, None),
            ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
                (host.clone(), *port, Some(RedisTls::default()))
            }
            _ => return Err(RedisError::not_sent("the URL of Redis must begin with redis:// or rediss://")),
        };
        let login = info.redis_settings();
        let mut settings = Self::new(host, port);
        settings.tls = tls;
        settings.database = login.db();
        settings.username = login.username().map(str::to_owned);
        settings.passwords = Arc::new(login.password().map(str::to_owned).into_iter().collect::<Vec<_>>());
        Ok(settings)
    }

    /// A client for one attempt with one password.
    async fn client(&self, password: Option<&str>, protocol: ProtocolVersion) -> Result<Client, RedisError> {
        let mut login =
            RedisConnectionInfo::default().set_db(self.database).set_protocol(protocol).set_skip_set_lib_name();
        if let Some(password) = password {
            login = login.set_password(password);
            if let Some(username) = &self.username {
                login = login.set_username(username);
            }
        }
        let addr = match &self.tls {
            None => ConnectionAddr::Tcp(self.host.clone(), self.port),
            Some(_) => {
                ConnectionAddr::TcpTls { host: self.host.clone(), port: self.port, insecure: false, tls_params: None }
            }
        };
        let info = addr
            .into_connection_info()
            .map_err(RedisError::connect)?
            .set_redis_settings(login)
            .set_tcp_settings(TcpSettings::default().set_nodelay(true));
        match &self.tls {
            None => Client::open(info),
            Some(tls) => Client::build_with_tls(info, certificates(tls).await?),
        }
        .map_err(RedisError::connect)
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("username", &self.username)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

async fn certificates(tls: &RedisTls) -> Result<TlsCertificates, RedisError> {
    let root_cert = match &tls.ca_path {
        Some(path) => Some(read(path).await?),
        None => tls.ca_pem.clone(),
    };
    let client_tls = match &tls.client {
        Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert).await?, client_key: read(key).await? }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, RedisError> {
    tokio::fs::read(path).await.map_err(|e| RedisError::not_sent(format!("cannot read {}: {e}", path.display())))
}

/// A connection as the server knows it: client id and address. Both are needed, because ids start
/// again when Redis does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientToken {
    id: String,
    addr: String,
}

/// Opens a multiplexed connection and has the server kill the `doomed` ones.
pub(crate) async fn open(
    settings: &RedisSettings,
    push_sender: impl AsyncPushSender,
    doomed: &[ClientToken],
) -> Result<(MultiplexedConnection, Option<ClientToken>), RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(Some(settings.response_timeout))
        .set_push_sender(push_sender);
    let work = async {
        let mut connection = login(settings, &config).await?;
        let token = introduce(&mut connection, doomed).await?;
        Ok((connection, token))
    };
    within(settings.connect_timeout, work).await
}

/// Opens a connection without a response timeout, for commands that block.
pub(crate) async fn open_blocking(settings: &RedisSettings) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    within(settings.connect_timeout, login(settings, &config)).await
}

/// Opens a connection that subscribes.
pub(crate) async fn open_pubsub(settings: &RedisSettings) -> Result<redis::aio::PubSub, RedisError> {
    let work =
        with_passwords(settings, ProtocolVersion::RESP2, |client| async move { client.get_async_pubsub().await });
    within(settings.connect_timeout, work).await
}

async fn login(settings: &RedisSettings, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
    with_passwords(settings, ProtocolVersion::RESP3, |client| {
        let config = config.clone();
        async move { client.get_multiplexed_async_connection_with_config(&config).await }
    })
    .await
}

/// Tries the passwords in turn; only a refusal of the password itself leads to the next one. `attempt` returns a named
/// future rather than being an `AsyncFn`, whose future the compiler cannot prove to be `Send`.
async fn with_passwords<T, F: Future<Output = redis::RedisResult<T>>>(
    settings: &RedisSettings,
    protocol: ProtocolVersion,
    attempt: impl Fn(Client) -> F,
) -> Result<T, RedisError> {
    let passwords = settings.passwords.candidates();
    let mut refused = None;
    for password in &passwords {
        match attempt(settings.client(Some(password), protocol).await?).await {
            Ok(opened) => return Ok(opened),
            Err(error) if is_refusal(&error) => refused = Some(error),
            Err(error) => return Err(RedisError::connect(error)),
        }
    }
    match refused {
        Some(error) => Err(RedisError::connect(error)),
        None => attempt(settings.client(None, protocol).await?).await.map_err(RedisError::connect),
    }
}

fn is_refusal(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
}

/// Learns the connection's own token and has lost connections killed. A user without these rights
/// works all the same: a lost answer is then looked up a little less surely.
async fn introduce(
    connection: &mut MultiplexedConnection,
    doomed: &[ClientToken],
) -> Result<Option<ClientToken>, RedisError> {
    let mut info = redis::cmd("CLIENT");
    info.arg("INFO");
    let answer = connection.send_packed_command(&info).await.map_err(RedisError::connect)?;
    let token = redis::from_redis_value::<String>(answer).ok().and_then(|line| parse_token(&line));
    for lost in doomed {
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(&lost.id).arg("ADDR").arg(&lost.addr);
        let answer = connection.send_packed_command(&kill).await.map_err(RedisError::connect)?;
        if let redis::Value::ServerError(error) = answer {
            tracing::debug!(%error, "the lost connection was not killed");
        }
    }
    Ok(token)
}

fn parse_token(line: &str) -> Option<ClientToken> {
    let field = |name: &str| line.split_whitespace().find_map(|part| part.strip_prefix(name));
    Some(ClientToken { id: field("id=")?.to_owned(), addr: field("addr=")?.to_owned() })
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(RedisError::not_sent(format!("cannot connect within {limit:?}"))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_address_login_and_tls() {
        let settings = RedisSettings::from_url("rediss://mutt:s3cret@redis.example:6380/2").unwrap();
        assert_eq!((settings.host.as_str(), settings.port, settings.database), ("redis.example", 6380, 2));
        assert_eq!(settings.username.as_deref(), Some("mutt"));
        assert_eq!(settings.passwords.candidates(), ["s3cret"]);
        assert!(settings.tls.is_some());
        assert!(!format!("{settings:?}").contains("s3cret"));
    }

    #[test]
    fn a_bad_url_is_refused_without_showing_it() {
        for url in ["http://x:s3cret@y", "redis+unix:///s3cret", "rediss://:s3cret@h/#insecure", ""] {
            let error = RedisSettings::from_url(url).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_token_is_read_from_client_info() {
        let token = parse_token("id=7 addr=127.0.0.1:4000 laddr=127.0.0.1:6379 fd=8").unwrap();
        assert_eq!(token, ClientToken { id: "7".into(), addr: "127.0.0.1:4000".into() });
    }
}
