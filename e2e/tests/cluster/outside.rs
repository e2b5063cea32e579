//! What a pipeline needs beside the cluster: Redis, PostgreSQL and the webhook on this machine, where pods reach them on the
//! node's address.

use std::net::IpAddr;

use mutt_servers::{FaultProxy, PostgresServer, RedisOptions, RedisServer, Webhook};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The address of this machine that pods can reach; `mutt-cluster run` says it.
pub(crate) fn node_ip() -> IpAddr {
    let address = std::env::var_os("MUTT_CLUSTER_NODE_IP").expect("no cluster: run these tests with `make e2e`");
    address.to_str().and_then(|text| text.parse().ok()).expect("MUTT_CLUSTER_NODE_IP is an address")
}

/// Passes connections to a port of the node's address on to a port of 127.0.0.1, where the servers listen.
pub(crate) struct Forwarded {
    /// The port on the node's address.
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Forwarded {
    async fn to(target: u16) -> Self {
        let listener = TcpListener::bind((node_ip(), 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { port, task }
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The password of Redis.
pub(crate) const REDIS_PASSWORD: &str = "redis-Passw0rd";

/// Redis, PostgreSQL and webhook of one pipeline.
pub(crate) struct Outside {
    /// Redis, with a password.
    pub(crate) redis: RedisServer,
    /// Where pods reach it.
    pub(crate) redis_at: Forwarded,
    /// PostgreSQL.
    pub(crate) postgres: PostgresServer,
    /// What pods reach it through, to make it slow.
    pub(crate) postgres_faults: FaultProxy,
    /// Where pods reach it.
    pub(crate) postgres_at: Forwarded,
    /// The webhook.
    pub(crate) webhook: Webhook,
    /// Where pods reach it.
    pub(crate) webhook_at: Forwarded,
}

impl Outside {
    /// Starts all three.
    pub(crate) async fn start() -> Self {
        let redis = RedisOptions::new().password(REDIS_PASSWORD).start().await.unwrap();
        let postgres = PostgresServer::start().await.unwrap();
        let postgres_faults = FaultProxy::start(postgres.port()).await.unwrap();
        let webhook = Webhook::start().await.unwrap();
        Self {
            redis_at: Forwarded::to(redis.port()).await,
            postgres_at: Forwarded::to(postgres_faults.port()).await,
            webhook_at: Forwarded::to(webhook.port()).await,
            redis,
            postgres,
            postgres_faults,
            webhook,
        }
    }

    /// The variables that the README's blocks name.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let ip = node_ip().to_string();
        vec![
            ("REGISTRY", super::REGISTRY.to_owned()),
            ("REDIS_HOST", ip.clone()),
            ("REDIS_PORT", self.redis_at.port.to_string()),
            ("REDIS_PASS", REDIS_PASSWORD.to_owned()),
            ("DB_HOST", ip.clone()),
            ("DB_PORT", self.postgres_at.port.to_string()),
            ("DB_NAME", "postgres".to_owned()),
            ("DB_USER", self.postgres.user().to_owned()),
            ("DB_PASS", self.postgres.password().to_owned()),
            ("DB_TLS", "false".to_owned()),
            ("MOOG_URL", format!("http://{ip}:{}/", self.webhook_at.port)),
            ("MOOG_API_KEY", "moog-key".to_owned()),
        ]
    }
}
