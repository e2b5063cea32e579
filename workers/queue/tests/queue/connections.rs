//! The connection heals itself: loss, silence, rotation of passwords, TLS, subscriptions.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mutt_queue::{Notice, Passwords, Redis, RedisErrorKind, RedisSettings, RedisTls};
use mutt_servers::{Fault, FaultProxy, RedisOptions, TlsFiles};

use crate::support::{PATIENCE, Pipeline, eventually, patient, plain, redis_cmd, shared};

#[tokio::test]
async fn clones_share_one_connection_and_one_reconnect() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let p = Pipeline::on(patient(&server.url()));
    let pings = |n: usize| {
        futures_util::future::join_all((0..n).map(|_| {
            let redis = p.redis.clone();
            async move { redis.ping().await }
        }))
    };
    server.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
    assert!(pings(50).await.iter().all(Result::is_ok));
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    eventually("healed", async || pings(50).await.iter().all(Result::is_ok).then_some(())).await;
    let info = server.command(&["INFO", "stats"]).await.unwrap();
    let connections: u32 = info
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:")?.trim().parse().ok())
        .unwrap();
    // The server's own questions in this test come on connections of their own.
    assert!(connections < 12, "{connections} connections for two generations of one client");
}

#[tokio::test]
async fn nothing_is_sent_while_redis_is_away_and_it_heals() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let p = Pipeline::on(patient(&server.url()));
    p.redis.ping().await.unwrap();
    server.kill();
    eventually("the loss is seen", async || {
        let error = p.redis.ping().await.err()?;
        (*error.kind() == RedisErrorKind::NotSent).then_some(())
    })
    .await;
    server.restart().await.unwrap();
    eventually("healed", async || p.redis.ping().await.ok()).await;
}

#[tokio::test]
async fn a_silent_redis_is_unknown_and_is_left() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let mut settings = patient(&server.url());
    settings.response_timeout = Duration::from_millis(300);
    let p = Pipeline::on(settings);
    eventually("connected", async || p.redis.ping().await.ok()).await;
    server.pause().unwrap();
    eventually("silence", async || p.redis.ping().await.err()?.is_unknown().then_some(())).await;
    server.resume().unwrap();
    eventually("healed", async || p.redis.ping().await.ok()).await;
}

/// Passwords that a test may change.
#[derive(Clone, Default)]
struct Rotating(Arc<Mutex<Vec<String>>>);

impl Rotating {
    fn set(&self, passwords: &[&str]) {
        *self.0.lock().unwrap() = passwords.iter().map(ToString::to_string).collect();
    }
}

impl Passwords for Rotating {
    fn candidates(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn passwords_rotate_without_a_restart() {
    let server = RedisOptions::new().without_persistence().password("old").start().await.unwrap();
    let passwords = Rotating::default();
    let mut settings = patient(&format!("redis://127.0.0.1:{}", server.port()));
    settings.passwords = Arc::new(passwords.clone());
    let fresh = |settings: &RedisSettings| Redis::new(settings.clone());

    for wrong in [&[][..], &["wrong"][..]] {
        passwords.set(wrong);
        let error = fresh(&settings).ping().await.unwrap_err();
        assert_eq!(*error.kind(), RedisErrorKind::NotSent, "{error}");
        assert!(!error.to_string().contains("wrong") || wrong.is_empty(), "{error}");
    }
    passwords.set(&["old", "new"]);
    let redis = fresh(&settings);
    redis.ping().await.unwrap();

    let _: () = redis.query(redis_cmd(&["CONFIG", "SET", "requirepass", "new"])).await.unwrap();
    let _: i64 =
        redis.query(redis_cmd(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"])).await.unwrap_or_default();
    eventually("the next password is tried", async || redis.ping().await.ok()).await;
    passwords.set(&["new"]);
    fresh(&settings).ping().await.unwrap();
}

#[tokio::test]
async fn an_acl_user_with_a_database_of_its_own() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    server.command(&["ACL", "SETUSER", "mutt", "on", ">pw", "~*", "&*", "+@all", "-client|kill"]).await.unwrap();
    let p = Pipeline::on(patient(&format!("redis://mutt:pw@127.0.0.1:{}/3", server.port())));
    let who: String = p.redis.query(redis_cmd(&["ACL", "WHOAMI"])).await.unwrap();
    assert_eq!(who, "mutt");
    p.accept(0, 2).await;
    let info = server.command(&["INFO", "keyspace"]).await.unwrap();
    assert!(info.text().contains("db3:") && !info.text().contains("db0:"), "{}", info.text());
    // Without the right to kill the lost connection it heals all the same.
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    eventually("healed", async || p.redis.ping().await.ok()).await;
}

/// A CA and a certificate for localhost, as PEM files.
fn certificates(directory: &Path) -> TlsFiles {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let cert = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let write = |name: &str, pem: String| {
        let path = directory.join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    TlsFiles {
        ca: write("ca.pem", ca_cert.pem()),
        certificate: write("server.crt", cert.pem()),
        key: write("server.key", key.serialize_pem()),
    }
}

#[tokio::test]
async fn tls_checks_the_server_against_the_given_authority() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = certificates(directory.path());
    let strangers = certificates(other.path());
    let server = RedisOptions::new().without_persistence().tls(files.clone()).start().await.unwrap();
    let mut settings = patient(&server.url());
    let pem = std::fs::read(&files.ca).unwrap();
    for tls in [
        RedisTls { ca_path: Some(files.ca), ..RedisTls::default() },
        RedisTls { ca_pem: Some(pem), ..RedisTls::default() },
    ] {
        settings.tls = Some(tls);
        Redis::new(settings.clone()).ping().await.unwrap();
    }

    for (host, ca) in [("localhost", strangers.ca), ("localhost", "/nonexistent/ca.pem".into())] {
        settings.host = host.to_owned();
        settings.tls = Some(RedisTls { ca_path: Some(ca), ..RedisTls::default() });
        let error = Redis::new(settings.clone()).ping().await.unwrap_err();
        assert_eq!(*error.kind(), RedisErrorKind::NotSent, "{error}");
    }
}

#[tokio::test]
async fn a_subscription_comes_back_and_says_so() {
    let proxy = FaultProxy::start(shared().await.port()).await.unwrap();
    let p = Pipeline::on(patient(&format!("redis://127.0.0.1:{}", proxy.port())));
    let channel = p.keys.reload_channels()[0].clone();
    let mut subscription = p.redis.subscribe([channel.clone()]);
    let publish = async |text: &str| {
        let sent: i64 = Pipeline::fresh().await.redis.query(redis_cmd(&["PUBLISH", &channel, text])).await.unwrap();
        assert!(sent >= 1);
    };
    let message = |text: &str| Notice::Message { channel: channel.clone(), payload: text.as_bytes().to_vec() };
    let mut next = async || tokio::time::timeout(PATIENCE, subscription.next()).await.expect("a notice");

    assert_eq!(next().await, Notice::Resubscribed);
    publish("one").await;
    assert_eq!(next().await, message("one"));
    proxy.cut().await;
    assert_eq!(next().await, Notice::Resubscribed);
    publish("two").await;
    assert_eq!(next().await, message("two"));
    proxy.set(Fault::Refuse).await;
    proxy.set(Fault::None).await;
    assert_eq!(next().await, Notice::Resubscribed);
}

#[tokio::test]
async fn a_blocking_connection_is_remade() {
    let proxy = FaultProxy::start(shared().await.port()).await.unwrap();
    let p = Pipeline::on(patient(&format!("redis://127.0.0.1:{}", proxy.port())));
    let mut bell = mutt_queue::Doorbell::new(&p.redis, &p.keys.ingest_queue);
    assert!(!bell.wait(Duration::from_millis(1)).await.unwrap());
    proxy.cut().await;
    let _ = p.redis.ping().await;
    eventually("pushed", async || p.pusher("i").push(&[plain(&["x"])]).await.ok()).await;
    eventually("rings", async || bell.wait(Duration::from_secs(30)).await.ok()?.then_some(())).await;
}
