//! What goes wrong at night: bad rules, Redis flushed and away, a wrong password, a missing Secret.

use std::time::{Duration, Instant};

use mutt_e2e::eventually;

use super::installation::{DumpOnFailure, installed};
use super::kubectl::{apply, get, kubectl, wait_condition};
use super::pipeline::{Deployed, INGEST_KEY, rule};

const NAMESPACE: &str = "trouble";
/// Changes that are timed; the figures are printed, `make bench-operator` judges them.
const CHANGES: usize = 10;

#[tokio::test]
async fn a_pipeline_says_what_is_wrong_and_recovers() {
    let _operator = installed().await;
    let _dump = DumpOnFailure(NAMESPACE);
    let pipeline = Deployed::new(NAMESPACE).await;
    rules_change(&pipeline).await;
    a_bad_rule_harms_no_other(&pipeline).await;
    redis_flushed_and_away(&pipeline).await;
    a_secret_goes_and_comes_back(&pipeline).await;
    a_changed_secret_is_reloaded(&pipeline).await;
    kubectl(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=3m"]).await;
}

async fn rules_change(pipeline: &Deployed) {
    pipeline.apply_rule("changing", "contains: CHANGE-0").await;
    pipeline.rule_active("changing").await;
    let mut times: Vec<Duration> = Vec::new();
    for number in 1..=CHANGES {
        let start = Instant::now();
        pipeline.apply_rule("changing", &format!("contains: CHANGE-{number}")).await;
        pipeline.rule_active("changing").await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "rule change, kubectl apply to Active, with kubectl's own time: median {:?}, most {:?}",
        times[CHANGES / 2],
        times[CHANGES - 1]
    );
    pipeline.send("core-1", &format!("CHANGE-{CHANGES} here")).await;
    pipeline.alerted(&format!("CHANGE-{CHANGES} here")).await;
    assert_eq!(
        pipeline.audited(&format!("CHANGE-{CHANGES} here")).await,
        format!("Page_and_ticket|{NAMESPACE}/changing")
    );
}

async fn a_bad_rule_harms_no_other(pipeline: &Deployed) {
    // The API server cannot know that the regex does not compile.
    apply(&format!(
        "{}{}",
        rule(NAMESPACE, "changing", "regex: 'CHANGE-(\\d+'"),
        rule(NAMESPACE, "good", "contains: GOOD-1")
    ))
    .await;
    wait_condition(NAMESPACE, "alertrule", "changing", "Accepted", |text| {
        text.starts_with("False") && text.contains("unclosed group")
    })
    .await;
    pipeline.rule_active("good").await;
    // Its last good form still serves.
    pipeline.send("core-1", &format!("CHANGE-{CHANGES} again")).await;
    pipeline.alerted(&format!("CHANGE-{CHANGES} again")).await;
    eventually("an Event on the rule", async || {
        let events =
            kubectl(&["-n", NAMESPACE, "get", "events", "--field-selector", "involvedObject.name=changing"]).await;
        events.contains("Warning")
    })
    .await;
    pipeline.ready().await;
}

async fn redis_flushed_and_away(pipeline: &Deployed) {
    pipeline.outside.redis.command(&["FLUSHALL"]).await.unwrap();
    pipeline.send("core-1", "GOOD-1 after the flush").await;
    pipeline.alerted("GOOD-1 after the flush").await;

    pipeline.outside.redis.stop().await.unwrap();
    wait_condition(NAMESPACE, "muttpipeline", "core", "Ready", |text| {
        text.starts_with("False") && text.to_lowercase().contains("redis")
    })
    .await;
    pipeline.outside.redis.restart().await.unwrap();
    pipeline.ready().await;
}

async fn a_secret_goes_and_comes_back(pipeline: &Deployed) {
    kubectl(&["-n", NAMESPACE, "delete", "secret", "mutt-moog"]).await;
    wait_condition(NAMESPACE, "muttpipeline", "core", "Ready", |text| {
        text.starts_with("False") && text.contains("mutt-moog")
    })
    .await;
    assert!(get(NAMESPACE, "deployment", "core-forwarder").await.is_some(), "nothing is deleted for a missing Secret");
    apply(&pipeline.secrets()).await;
    pipeline.ready().await;
}

async fn a_changed_secret_is_reloaded(pipeline: &Deployed) {
    let before = pods().await;
    apply(&pipeline.secrets().replace(INGEST_KEY, "the-new-key")).await;
    // The kubelet brings the file, the ingestor reads it.
    eventually("the ingestor takes the new key", async || pipeline.post("the-new-key").await == Some(200)).await;
    eventually("the old key is refused", async || pipeline.post(INGEST_KEY).await == Some(401)).await;
    assert_eq!(pods().await, before, "a changed Secret restarted pods");
}

async fn pods() -> String {
    let template = "{range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount}\n{end}";
    kubectl(&[
        "-n",
        NAMESPACE,
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/component=ingestor",
        "-o",
        &format!("jsonpath={template}"),
    ])
    .await
}
