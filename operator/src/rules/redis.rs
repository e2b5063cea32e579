//! The connection to a pipeline's Redis: from the spec and the Secrets that it names, and its troubles in words.

use std::error::Error as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use mutt_crds::pipeline::RedisSpec;
use mutt_queue::{Keys, Redis, RedisError, RedisSettings, RedisTls, redis};

/// Keys of the credentials Secret, as the workers read them.
const PASSWORD_KEYS: [&str; 2] = ["REDIS_PASS_CURRENT", "REDIS_PASS"];
const NEXT_PASSWORD_KEY: &str = "REDIS_PASS_NEXT";

/// Why a pipeline's Redis cannot be used, in words, with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// Redis, or the way to it.
    #[error("{0}")]
    Redis(String),
    /// Something in Kubernetes.
    #[error("{0}")]
    Cluster(String),
}

/// What the Secrets say. Never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Login {
    passwords: Vec<String>,
    ca_pem: Option<Vec<u8>>,
}

/// A connection with the names of the pipeline's keys.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The handle; connects when needed.
    pub(crate) redis: Redis,
    /// Names below the pipeline's prefix.
    pub(crate) keys: Arc<Keys>,
    spec: RedisSpec,
    login: Login,
    place: String,
}

impl Connection {
    /// A connection for this spec; nothing is sent yet.
    pub(crate) fn new(spec: &RedisSpec, login: Login) -> Result<Self, Trouble> {
        let bad_url =
            |_| Trouble::Redis("spec.redis.url is no URL of a Redis; write redis://host:port/database".to_owned());
        let mut settings = RedisSettings::from_url(&spec.url).map_err(bad_url)?;
        settings.username = spec.username.clone().or(settings.username);
        if !login.passwords.is_empty() {
            settings.passwords = Arc::new(login.passwords.clone());
        }
        if settings.tls.is_some() {
            settings.tls = Some(RedisTls { ca_pem: login.ca_pem.clone(), ..RedisTls::default() });
        }
        Ok(Self {
            place: format!("{}:{}", settings.host, settings.port),
            redis: Redis::new(settings),
            keys: Arc::new(Keys::new(&spec.key_prefix)),
            spec: spec.clone(),
            login,
        })
    }

    /// Whether it is what this spec and these Secrets ask for.
    pub(crate) fn fits(&self, spec: &RedisSpec, login: &Login) -> bool {
        self.spec == *spec && self.login == *login
    }

    /// Where it leads to, as messages call it.
    pub(crate) fn name(&self) -> String {
        format!("redis at {}", self.place)
    }

    /// Whether Redis refused the login.
    pub(crate) fn is_refused(error: &RedisError) -> bool {
        let library = error.source().and_then(|source| source.downcast_ref::<redis::RedisError>());
        library.is_some_and(|error| {
            error.kind() == redis::ErrorKind::AuthenticationFailed
                || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
        })
    }

    /// An error in words, with what to do. The passwords never stand in it.
    pub(crate) fn trouble(&self, error: &RedisError) -> Trouble {
        let place = &self.place;
        let secret = self.spec.credentials_secret.as_deref();
        Trouble::Redis(match (Self::is_refused(error), secret) {
            (true, Some(secret)) => {
                format!(
                    "redis at {place} refuses the login: check REDIS_PASS in the Secret {secret} and spec.redis.username"
                )
            }
            (true, None) => format!("redis at {place} wants a password: name a Secret in spec.redis.credentialsSecret"),
            (false, _) => format!("redis at {place}: {error}"),
        })
    }
}

/// Reads what the spec's Secrets say; by name, since the operator may not list Secrets.
pub(crate) async fn login(client: &Client, namespace: &str, spec: &RedisSpec) -> Result<Login, Trouble> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let read = async |name: &str| match secrets.get_opt(name).await {
        Ok(Some(secret)) => Ok(secret),
        Ok(None) => Err(Trouble::Cluster(format!("the Secret {namespace}/{name} does not exist"))),
        Err(error) => Err(Trouble::Cluster(format!("the Secret {namespace}/{name} cannot be read: {error}"))),
    };
    let mut login = Login::default();
    if let Some(name) = &spec.credentials_secret {
        let secret = read(name).await?;
        let current = PASSWORD_KEYS.iter().find_map(|key| text(&secret, key)).ok_or_else(|| {
            Trouble::Cluster(format!("the Secret {namespace}/{name} has no key REDIS_PASS (or REDIS_PASS_CURRENT)"))
        })?;
        login.passwords = [Some(current), text(&secret, NEXT_PASSWORD_KEY)].into_iter().flatten().collect();
    }
    if let Some(tls) = &spec.tls {
        let (name, key) = (&tls.ca_secret.name, &tls.ca_secret.key);
        let secret = read(name).await?;
        let pem = secret.data.and_then(|mut data| data.remove(key)).filter(|pem| !pem.0.is_empty());
        let missing = || Trouble::Cluster(format!("the Secret {namespace}/{name} has no key {key}"));
        login.ca_pem = Some(pem.ok_or_else(missing)?.0);
    }
    Ok(login)
}

/// A value without the line end that editors add.
fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    let text = String::from_utf8(bytes.0.clone()).ok()?;
    Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty())
}
