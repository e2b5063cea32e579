//! The webhook is away, slow, refuses or does not know us: every alert arrives in the end, or is kept.

use std::{collections::BTreeSet, time::Duration};

use mutt_e2e::{Pipeline, Role, eventually};
use mutt_servers::Answer;

use crate::ledger;

async fn quick_retries() -> Pipeline {
    let mut pipeline = Pipeline::start().await;
    pipeline.set("MOOG_RETRY_BASE_DELAY", "0.1");
    pipeline.set("MOOG_RETRY_MAX_DELAY", "0.5");
    pipeline.set("MOOG_WEBHOOK_TIMEOUT", "2");
    pipeline.set("MOOG_PAUSE_PROBE_SECONDS", "1");
    pipeline.set("MOOG_MAX_RETRIES", "50");
    pipeline.set("CIRCUIT_BREAKER_THRESHOLD", "5");
    pipeline.set("CIRCUIT_BREAKER_TIMEOUT", "1");
    pipeline
}

/// Sends a few events while the webhook does `trouble`, waits for `tries` requests, then lets it answer 200.
async fn alerts_survive(pipeline: &Pipeline, trouble: Answer, tries: u64) {
    let _alerter = pipeline.run(Role::Alerter).await;
    let _forwarder = pipeline.run(Role::Forwarder).await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    pipeline.webhook.answer(trouble);
    let numbers: BTreeSet<usize> = (0..12).collect();
    let answer = pipeline.sender(&ingestor).send(&ledger::batch(numbers.clone())).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    eventually("tries while in trouble", async || pipeline.webhook.requests() >= tries).await;
    assert_eq!(pipeline.webhook.delivered(), 0);
    pipeline.webhook.answer(Answer::status(200));
    ledger::prove(pipeline, &numbers).await;
}

#[tokio::test]
async fn answers_500_and_the_breaker_opens() {
    alerts_survive(&quick_retries().await, Answer::status(500), 6).await;
}

#[tokio::test]
async fn answers_429_with_retry_after() {
    alerts_survive(&quick_retries().await, Answer::retry_after(429, "1"), 6).await;
}

/// Those refused before the first one that passes go to the dead letters, where they can be replayed; none is dropped.
#[tokio::test]
async fn answers_401_and_nothing_is_dropped() {
    let pipeline = quick_retries().await;
    let _alerter = pipeline.run(Role::Alerter).await;
    let _forwarder = pipeline.run(Role::Forwarder).await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    pipeline.webhook.answer(Answer::status(401));
    let numbers: BTreeSet<usize> = (0..12).map(|number| 2 * number).collect();
    let answer = pipeline.sender(&ingestor).send(&ledger::batch(numbers.clone())).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    eventually("tries while in trouble", async || pipeline.webhook.requests() >= 2).await;
    pipeline.webhook.answer(Answer::status(200));
    let wanted = i64::try_from(numbers.len()).unwrap();
    eventually("all alerts delivered or kept", async || {
        let delivered = i64::try_from(pipeline.webhook.delivered()).unwrap();
        delivered > 0 && delivered + pipeline.length("mutt:dlq:moog").await == wanted
    })
    .await;
    let mut hosts: BTreeSet<String> = pipeline.webhook.with_received(|received| {
        received.iter().filter(|alert| alert.delivered).map(|alert| alert.text("source_id").to_owned()).collect()
    });
    for letter in pipeline.redis.command(&["LRANGE", "mutt:dlq:moog", "0", "-1"]).await.unwrap().texts() {
        let letter: serde_json::Value = serde_json::from_str(&letter).unwrap();
        hosts.insert(letter["alert"]["hostname"].as_str().unwrap().to_owned());
    }
    assert_eq!(hosts, numbers.iter().map(|number| ledger::host(*number)).collect());
}

#[tokio::test]
async fn closes_connections_without_an_answer() {
    alerts_survive(&quick_retries().await, Answer::Close, 6).await;
}

#[tokio::test]
async fn hangs_until_the_time_out() {
    alerts_survive(&quick_retries().await, Answer::Hang, 2).await;
}

#[tokio::test]
async fn is_slow_but_answers() {
    let pipeline = quick_retries().await;
    pipeline.webhook.answer(Answer::slow(Duration::from_millis(300)));
    let _alerter = pipeline.run(Role::Alerter).await;
    let _forwarder = pipeline.run(Role::Forwarder).await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    let numbers: BTreeSet<usize> = (0..12).collect();
    let answer = pipeline.sender(&ingestor).send(&ledger::batch(numbers.clone())).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.json);
    ledger::prove(&pipeline, &numbers).await;
}
