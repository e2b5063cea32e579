//! TLS everywhere: Redis, PostgreSQL, the webhook and the roles' own ports, each verified by the CA that is given.

use std::{collections::BTreeSet, fs, path::Path};

use mutt_e2e::{Pipeline, Role, eventually};
use mutt_servers::{PostgresOptions, RedisOptions, TlsFiles, Webhook};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::ledger;

/// A CA and a certificate of it for this machine.
fn certificates(directory: &Path) -> TlsFiles {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let write = |name: &str, pem: String| {
        let path = directory.join(name);
        fs::write(&path, pem).unwrap();
        path
    };
    TlsFiles {
        certificate: write("server.crt", certificate.pem()),
        key: write("server.key", key.serialize_pem()),
        ca: write("ca.pem", ca_certificate.pem()),
    }
}

async fn pipeline(files: &TlsFiles) -> Pipeline {
    let webhook = Webhook::start_tls(files).await.unwrap();
    let redis = RedisOptions::new().tls(files.clone()).password("p4ss");
    let mut pipeline = Pipeline::start_on(redis, PostgresOptions::new().tls(files.clone()), webhook).await;
    let database = pipeline.database_url.replace("sslmode=disable", "sslmode=verify-full");
    pipeline.set("DATABASE_URL", database.replace("127.0.0.1", "localhost"));
    pipeline
}

fn path(file: &Path) -> String {
    file.to_str().unwrap().to_owned()
}

fn trust(pipeline: &mut Pipeline, ca: &Path) {
    for name in ["REDIS_CA_CERT_PATH", "DB_TLS_CA_CERT_PATH", "MOOG_CA_CERT_PATH"] {
        pipeline.set(name, path(ca));
    }
}

#[tokio::test]
async fn events_travel_encrypted_from_end_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let files = certificates(directory.path());
    let mut pipeline = pipeline(&files).await;
    trust(&mut pipeline, &files.ca);
    pipeline.set("SERVER_TLS_CERT_PATH", path(&files.certificate));
    pipeline.set("SERVER_TLS_KEY_PATH", path(&files.key));
    let _alerter = pipeline.run(Role::Alerter).await;
    let _forwarder = pipeline.run(Role::Forwarder).await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    assert!(ingestor.url().starts_with("https://"));
    let numbers: BTreeSet<usize> = (0..10).collect();
    let answer = pipeline.sender(&ingestor).send(&ledger::batch(numbers.clone())).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    ledger::prove(&pipeline, &numbers).await;
    let encrypted = pipeline.sql("SELECT count(*) FROM pg_stat_ssl WHERE ssl").await;
    assert_ne!(encrypted, "0", "the alerter's connections to PostgreSQL");
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_trusted() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (files, strangers) = (certificates(directory.path()), certificates(other.path()));
    let mut pipeline = pipeline(&files).await;
    trust(&mut pipeline, &strangers.ca);
    // Redis and PostgreSQL are refused: the roles run, say so, and are not ready.
    let mut alerter = pipeline.spawn(Role::Alerter);
    let mut ingestor = pipeline.spawn(Role::Ingestor);
    eventually("not ready", async || alerter.status("/ready").await == 503 && ingestor.status("/ready").await == 503)
        .await;
    assert!(alerter.is_running() && ingestor.is_running());
    let answer = pipeline.sender(&ingestor).send(&ledger::numbered(0)).await.unwrap();
    assert_eq!(answer.status, 503, "{}", answer.json);
}
