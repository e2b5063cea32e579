//! Redis loses what it was told, is ahead, refuses, is away.

use mutt_queue::served_rules;
use mutt_servers::RedisOptions;
use serde_json::json;

use crate::alerter::Alerter;
use crate::site::{Site, client_of, condition, eventually};

#[tokio::test]
async fn a_flushed_redis_is_refilled_and_a_greater_number_is_continued() {
    let cluster = mutt_cluster::ControlPlane::shared().await.unwrap();
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let mut site = Site::on(client_of(cluster).await, &server.url(), "flushed").await;
    let _alerter = site.alerter("a");
    site.start();
    site.pipeline("core", json!({})).await;
    site.rule("one", json!({}), "x").await;
    let rule = site.until("one", "Accepted/Active core=1/1").await;
    let record = site.record("core").await;

    server.command(&["FLUSHALL"]).await.unwrap();
    site.until_served(&["one:x"]).await;
    assert_eq!(site.record("core").await, record, "the same number and the same hash again");

    // Somebody published under a greater number: etcd was restored from an old copy, say.
    let (keys, text) = (site.keys(), "{\"rules\":[],\"developmentHosts\":[],\"teams\":{}}");
    let revision = mutt_rules::Revision::of(text);
    served_rules::publish(&site.redis, &keys, 1_000, revision.as_str(), text).await.unwrap();
    site.until_served(&["one:x"]).await;
    assert_eq!(site.record("core").await, (1_001, record.1.clone()));
    assert_eq!(site.sequence().await, 1_001);

    // The record is deleted, or changed by hand.
    site.config_maps().delete("core-rules", &kube::api::DeleteParams::default()).await.unwrap();
    assert_eq!(site.record("core").await, (1_001, record.1.clone()));
    let patch = kube::api::Patch::Merge(json!({"data": {"hash": "by hand"}}));
    site.config_maps().patch("core-rules", &kube::api::PatchParams::default(), &patch).await.unwrap();
    assert_eq!(site.record("core").await, (1_001, record.1));
    let same = site.rules().get("one").await.unwrap();
    assert_eq!(same.metadata.resource_version, rule.metadata.resource_version, "none of that is news about the rule");

    // Away and back, empty.
    server.kill();
    site.board("core", "redis is away", |state| state.redis_error.is_some() && state.queues.is_none()).await;
    site.rule("two", json!({}), "y").await;
    let waiting = site.until("two", "Accepted/NotPublished core=-").await;
    assert_eq!(condition(&waiting, "Active").status, "Unknown");
    server.restart().await.unwrap();
    site.until_served(&["one:x", "two:y"]).await;
    site.until("two", "Accepted/Active core=1/1").await;
    site.board("core", "all is well", |state| state.redis_error.is_none() && state.queues.is_some()).await;
    site.stop().await;
}

#[tokio::test]
async fn a_login_that_is_missing_or_wrong_is_told_and_mends_by_itself_and_others_are_unaffected() {
    let cluster = mutt_cluster::ControlPlane::shared().await.unwrap();
    let server = RedisOptions::new().without_persistence().password("s3cret").start().await.unwrap();
    let plain = format!("redis://127.0.0.1:{}", server.port());
    let mut site = Site::on(client_of(cluster).await, &crate::site::shared_redis().await.url(), "login").await;
    let guarded_prefix = format!("{}-guarded", site.prefix);
    let _alerters = [site.alerter("a"), Alerter::start(&server.url(), &guarded_prefix, "b")];
    site.start();
    site.pipeline("open", json!({"ruleSelector": {"matchLabels": {"pipeline": "open"}}})).await;
    let login = json!({"redis": {"credentialsSecret": "redis-login"}, "ruleSelector": {"matchLabels": {"pipeline": "guarded"}}});
    site.pipeline_on("guarded", &plain, &guarded_prefix, login.clone()).await;
    site.rule("one", json!({"pipeline": "guarded"}), "x").await;
    site.rule("two", json!({"pipeline": "open"}), "y").await;
    site.until("two", "Accepted/Active open=1/1").await;
    site.until("one", "Accepted/NotPublished guarded=-").await;
    let cluster_error = async |text: &str| {
        let holds = |state: &mutt_operator::rules::RulesState| {
            state.cluster_error.as_ref().is_some_and(|error| error.contains(text))
        };
        site.board("guarded", text, holds).await;
    };
    cluster_error("redis-login does not exist").await;
    site.secret("redis-login", json!({"OTHER": "x"})).await;
    cluster_error("no key REDIS_PASS").await;
    site.secret("redis-login", json!({"REDIS_PASS": "wrong\n"})).await;
    let state = site.board("guarded", "the login is refused", |state| {
        state.redis_error.as_ref().is_some_and(|error| error.contains("refuses the login"))
    });
    assert!(!format!("{:?}", state.await).contains("wrong"));
    // Both are good during a rotation; the Secret is read again by itself.
    site.secret("redis-login", json!({"REDIS_PASS_CURRENT": "old", "REDIS_PASS_NEXT": "s3cret"})).await;
    site.until("one", "Accepted/Active guarded=1/1").await;
    site.board("guarded", "all is well", |state| state.redis_error.is_none() && state.cluster_error.is_none()).await;
    site.until("two", "Accepted/Active open=1/1").await;
    // A Redis that cannot be reached at all.
    let nobody = format!("redis://127.0.0.1:{}", mutt_servers::free_port().unwrap());
    site.pipeline_on("open", &nobody, &site.prefix, json!({"ruleSelector": {"matchLabels": {"pipeline": "open"}}}))
        .await;
    site.board("open", "not reached", |state| {
        state.redis_error.as_ref().is_some_and(|error| error.contains("127.0.0.1"))
    })
    .await;
    site.rule("one", json!({"pipeline": "guarded"}), "changed").await;
    site.until("one", "Accepted/Active guarded=1/1").await;
    eventually(async || {
        let seen = site.served_below(&site.prefix).await;
        if seen == ["two:y"] { Ok(()) } else { Err(format!("what was served stays; seen {seen:?}")) }
    })
    .await;
    site.stop().await;
}
