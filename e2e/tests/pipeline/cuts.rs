//! Connections break in the middle of an answer: what was done must be found out, never guessed.

use std::time::Duration;

use mutt_e2e::{Pipeline, Role, eventually};
use mutt_servers::{Fault, FaultProxy};

use crate::{ledger, load::Load};

/// After so many bytes of answers a connection is reset; small ones hit the handshake, large ones hit pipelines.
const REPLY_BYTES: [usize; 8] = [0, 7, 90, 400, 700, 1_500, 4_000, 20_000];

/// Breaks connections in all the ways above under load, with a stretch of quiet between; proves that nothing is missing
/// and nothing is twice.
async fn survives(pipeline: &mut Pipeline, proxy: FaultProxy) {
    pipeline.set("ALERTER_JANITOR_TIMEOUT", "5");
    pipeline.set("MOOG_JANITOR_TIMEOUT", "5");
    pipeline.set("ALERTER_MAX_RETRIES", "100");
    let _alerter = pipeline.run(Role::Alerter).await;
    let _forwarder = pipeline.run(Role::Forwarder).await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    let load = Load::start(&pipeline.sender(&ingestor));
    for bytes in REPLY_BYTES {
        let (accepted, audited) = (load.accepted(), pipeline.audited().await);
        eventually(&format!("progress before a cut after {bytes} bytes"), async || {
            load.accepted() > accepted && pipeline.audited().await > audited
        })
        .await;
        proxy.set(Fault::CutReplies(bytes)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.set(Fault::None).await;
        proxy.cut().await;
    }
    let accepted = load.stop().await;
    ledger::prove(pipeline, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_redis_are_cut() {
    let mut pipeline = Pipeline::start().await;
    let port = pipeline.redis.port();
    let proxy = FaultProxy::start(port).await.unwrap();
    let url = proxy.through(&pipeline.redis.url(), port);
    pipeline.set("REDIS_URL", url);
    survives(&mut pipeline, proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_postgres_are_cut() {
    let mut pipeline = Pipeline::start().await;
    let port = pipeline.postgres().port();
    let proxy = FaultProxy::start(port).await.unwrap();
    let url = proxy.through(&pipeline.database_url, port);
    pipeline.set("DATABASE_URL", url);
    survives(&mut pipeline, proxy).await;
}
