//! Which pipeline gets which rules.

use serde_json::json;

use crate::alerter::Alerter;
use crate::site::Site;

#[tokio::test]
async fn pipelines_that_share_a_namespace_get_what_they_select() {
    let mut site = Site::new("share").await;
    let edge_prefix = format!("{}-edge", site.prefix);
    let _alerters = [site.alerter("a"), Alerter::start(&site.redis_url, &edge_prefix, "b")];
    site.start();
    site.pipeline("core", json!({"ruleSelector": {"matchLabels": {"pipeline": "core"}}})).await;
    let edge = json!({"ruleSelector": {"matchExpressions": [{"key": "pipeline", "operator": "In", "values": ["edge", "core"]}]}});
    site.pipeline_on("edge", &site.redis_url, &edge_prefix, edge.clone()).await;
    site.rule("both", json!({"pipeline": "core"}), "x").await;
    site.rule("edge", json!({"pipeline": "edge"}), "y").await;
    site.rule("none", json!({"pipeline": "other"}), "z").await;
    site.until("both", "Accepted/Active core=1/1 edge=1/1").await;
    site.until("edge", "Accepted/Active edge=1/1").await;
    site.until("none", "Accepted/NotSelected").await;
    site.until_served(&["both:x"]).await;
    site.until_served_below(&edge_prefix, &["both:x", "edge:y"]).await;

    // Another label, another selector.
    site.rule("edge", json!({"pipeline": "core"}), "y").await;
    site.until("edge", "Accepted/Active core=1/1 edge=1/1").await;
    site.pipeline_on(
        "edge",
        &site.redis_url,
        &edge_prefix,
        json!({"ruleSelector": {"matchLabels": {"pipeline": "other"}}}),
    )
    .await;
    site.until("both", "Accepted/Active core=1/1").await;
    site.until("none", "Accepted/Active edge=1/1").await;
    site.until_served_below(&edge_prefix, &["none:z"]).await;

    // Deleted, renamed.
    site.delete_rule("edge").await;
    site.until_served(&["both:x"]).await;
    site.delete_rule("both").await;
    site.rule("renamed", json!({"pipeline": "core"}), "x").await;
    site.until("renamed", "Accepted/Active core=1/1").await;
    site.until_served(&["renamed:x"]).await;
    // The last rule of all: an empty set is explicit.
    site.delete_rule("renamed").await;
    site.until_served(&[]).await;

    // A pipeline that is deleted selects nothing.
    site.pipelines().delete("edge", &kube::api::DeleteParams::default()).await.unwrap();
    site.until("none", "Accepted/NotSelected").await;
    site.stop().await;
}

#[tokio::test]
async fn rules_come_from_the_namespaces_that_are_selected() {
    let mut site = Site::new("spaces").await;
    let _alerter = site.alerter("a");
    let one = site.another_namespace("one", json!({"team": "netops"})).await;
    let two = site.another_namespace("two", json!({"team": "sysops"})).await;
    site.start();
    site.pipeline("core", json!({"ruleNamespaceSelector": {"matchLabels": {"team": "netops"}}})).await;
    site.rule("own", json!({}), "x").await;
    site.rule_in(&one, "theirs", json!({}), "y", json!({})).await;
    site.rule_in(&two, "others", json!({}), "z", json!({})).await;
    site.until_in(&one, "theirs", "Accepted/Active core=1/1").await;
    site.until_in(&two, "others", "Accepted/NotSelected").await;
    site.until("own", "Accepted/NotSelected").await;
    site.until_served(&["theirs:y"]).await;
    // `{}` = all that the operator looks at.
    site.pipeline("core", json!({"ruleNamespaceSelector": {}})).await;
    site.until_in(&two, "others", "Accepted/Active core=1/1").await;
    site.until("own", "Accepted/Active core=1/1").await;
    site.until_served(&["own:x", "theirs:y", "others:z"]).await;
    // None = its own.
    site.pipeline("core", json!({})).await;
    site.until_in(&one, "theirs", "Accepted/NotSelected").await;
    site.until_served(&["own:x"]).await;
    site.stop().await;
}

#[tokio::test]
async fn a_younger_pipeline_on_the_same_keys_publishes_nothing_until_they_are_free() {
    let mut site = Site::new("rivals").await;
    let _alerter = site.alerter("a");
    site.pipeline("older", json!({"ruleSelector": {"matchLabels": {"pipeline": "older"}}})).await;
    site.start();
    site.rule("one", json!({"pipeline": "older"}), "x").await;
    site.rule("two", json!({"pipeline": "younger"}), "y").await;
    site.until("one", "Accepted/Active older=1/1").await;
    let older = site.pipelines().get("older").await.unwrap();
    // Of two of the same second the one with the smaller UID is the older.
    crate::site::eventually(async || {
        site.pipeline_on(
            "younger",
            &format!("{}/0", site.redis_url.trim_end_matches('/')),
            &site.prefix,
            json!({"ruleSelector": {"matchLabels": {"pipeline": "younger"}}}),
        )
        .await;
        let younger = site.pipelines().get("younger").await.unwrap();
        if younger.metadata.creation_timestamp > older.metadata.creation_timestamp {
            return Ok(());
        }
        site.pipelines().delete("younger", &kube::api::DeleteParams::default()).await.unwrap();
        Err("a later second".to_owned())
    })
    .await;
    let refused = |state: &mutt_operator::rules::RulesState| {
        state.cluster_error.as_ref().is_some_and(|error| error.contains(&format!("{}/older", site.namespace)))
    };
    site.board("younger", "its keys are another's", refused).await;
    site.until("two", "Accepted/NotPublished younger=-").await;
    let sequence = site.sequence().await;
    // What is published from now on is the older one's alone: one number more for one change.
    site.rule("one", json!({"pipeline": "older"}), "z").await;
    site.until("one", "Accepted/Active older=1/1").await;
    assert_eq!((site.served().await, site.sequence().await), (vec!["one:z".to_owned()], sequence + 1));
    assert!(site.config_maps().get_opt("younger-rules").await.unwrap().is_none(), "it never published");

    site.pipelines().delete("older", &kube::api::DeleteParams::default()).await.unwrap();
    site.until("two", "Accepted/Active younger=1/1").await;
    site.until_served(&["two:y"]).await;
    site.stop().await;
}
