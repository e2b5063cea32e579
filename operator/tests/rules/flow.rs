//! From apply to active, and what is said about rules that are not good.

use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use crate::site::{Site, condition, eventually};

#[tokio::test]
async fn an_applied_rule_is_accepted_published_and_active_on_all_alerters() {
    let mut site = Site::new("flow").await;
    let _alerters = [site.alerter("a"), site.alerter("b")];
    site.start();
    site.pipeline("core", json!({"developmentHosts": ["lab-1"], "teams": [{"team": "NETO", "hosts": ["core-1"]}]}))
        .await;
    site.rule("down", json!({}), "link down").await;
    let rule = site.until("down", "Accepted/Active core=2/2").await;
    let status = rule.status.as_ref().unwrap();
    assert_eq!(status.pipelines[0].name, format!("{}/core", site.namespace));
    assert_eq!(status.pipelines[0].hash.as_ref().unwrap().len(), 12);
    assert_eq!(site.served().await, ["down:link down"]);
    let (sequence, revision) = site.record("core").await;
    let map = site.config_maps().get("core-rules").await.unwrap();
    assert_eq!(map.metadata.owner_references.unwrap()[0].uid, site.uid_of("core").await);
    let state =
        site.board("core", "all alerters have it", |state| state.alerters() == "2/2" && state.active == 1).await;
    assert_eq!((state.sequence, state.revision, state.accepted, state.rejected), (sequence, Some(revision), 1, 0));
    assert!(state.queues.is_some() && state.redis_error.is_none() && state.cluster_error.is_none());

    // A change of another rule is none of this one.
    site.rule("up", json!({}), "link up").await;
    site.until("up", "Accepted/Active core=2/2").await;
    assert_eq!(site.record("core").await.0, sequence + 1);
    assert_eq!(site.rules().get("down").await.unwrap().metadata.resource_version, rule.metadata.resource_version);
    // Its own is: another hash.
    site.rule("down", json!({}), "line down").await;
    let changed = site.until("down", "Accepted/Active core=2/2").await;
    assert_ne!(changed.status.unwrap().pipelines[0].hash, status.pipelines[0].hash);
    site.until_served(&["down:line down", "up:link up"]).await;
    site.stop().await;
}

#[tokio::test]
async fn a_bad_rule_is_told_with_its_position_and_stays_in_its_last_good_form() {
    let mut site = Site::new("bad").await;
    let _alerter = site.alerter("a");
    site.start();
    site.pipeline("core", json!({})).await;
    site.rule("one", json!({}), "regex=flap+").await;
    site.rule("two", json!({}), "fan").await;
    let good = site.until("one", "Accepted/Active core=1/1").await;
    site.until("two", "Accepted/Active core=1/1").await;

    site.rule("one", json!({}), "regex=flap(ping").await;
    let bad = site.until("one", "Invalid/Rejected core=1/1").await;
    let message = condition(&bad, "Accepted").message;
    assert!(
        message.contains("spec.match.message.regex") && message.contains('5'),
        "the position of the error: {message}"
    );
    assert_eq!(bad.status.as_ref().unwrap().pipelines, good.status.unwrap().pipelines, "the last good form serves");
    site.until_served(&["one:flap+", "two:fan"]).await;
    let events: Api<Event> = Api::namespaced(site.client.clone(), &site.namespace);
    eventually(async || {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let told = events.iter().filter(|event| event.reason.as_deref() == Some("Invalid"));
        let told: Vec<_> =
            told.filter_map(|event| Some((event.regarding.clone()?.name?, event.type_.clone()?))).collect();
        if told == [("one".to_owned(), "Warning".to_owned())] {
            Ok(())
        } else {
            Err(format!("one Event; seen {told:?}"))
        }
    })
    .await;
    // Others come and go meanwhile.
    site.rule("three", json!({}), "temperature").await;
    site.until("three", "Accepted/Active core=1/1").await;
    site.board("core", "counts", |state| (state.accepted, state.rejected) == (2, 1)).await;

    // A test that fails is told by its number and what was expected.
    let tests = |message: &str| {
        json!({"tests": [
        {"event": {"message": "flapp"}, "expect": "match"}, {"event": {"message": message}, "expect": "no_match"}]})
    };
    site.rule_with("one", json!({}), "regex=flap", tests("flapping")).await;
    let failing = site.until("one", "TestsFailed/Rejected core=1/1").await;
    let message = condition(&failing, "Accepted").message;
    assert!(message.contains("tests[1]") && message.contains("expected no match"), "{message}");
    site.until_served(&["one:flap+", "three:temperature", "two:fan"]).await;
    // Repaired.
    site.rule_with("one", json!({}), "regex=flap", tests("fine")).await;
    site.until("one", "Accepted/Active core=1/1").await;
    site.until_served(&["one:flap", "three:temperature", "two:fan"]).await;

    // One that was never good is not in use; disabled ones are accepted and not active.
    site.rule("never", json!({}), "regex=(").await;
    site.until("never", "Invalid/Rejected core=-").await;
    site.rule_with("two", json!({}), "fan", json!({"enabled": false})).await;
    site.until("two", "Accepted/Disabled core=-").await;
    site.stop().await;
}

#[tokio::test]
async fn after_a_restart_the_last_good_form_still_serves_and_nothing_is_written() {
    let mut site = Site::new("restart").await;
    let _alerters = [site.alerter("a"), site.alerter("b")];
    site.start();
    site.pipeline("core", json!({})).await;
    site.rule("one", json!({}), "good").await;
    site.rule("two", json!({}), "fan").await;
    site.until("one", "Accepted/Active core=2/2").await;
    site.until("two", "Accepted/Active core=2/2").await;
    site.rule("one", json!({}), "regex=bad(").await;
    let before = site.until("one", "Invalid/Rejected core=2/2").await;
    let record = site.record("core").await;
    site.stop().await;

    site.start();
    // A change shows that it works again, and with what.
    site.rule("three", json!({}), "new").await;
    site.until("three", "Accepted/Active core=2/2").await;
    assert_eq!(site.served().await, ["one:good", "three:new", "two:fan"]);
    assert_eq!(site.record("core").await.0, record.0 + 1, "no publication for the restart itself");
    let after = site.rules().get("one").await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "its status said all that already");
    site.stop().await;
}

#[tokio::test]
async fn a_rule_that_can_never_fire_is_told_which_one_is_before_it() {
    let mut site = Site::new("shadow").await;
    let _alerter = site.alerter("a");
    site.start();
    site.pipeline("core", json!({})).await;
    site.rule_with("wide", json!({}), "down", json!({"priority": 10})).await;
    site.rule("narrow", json!({}), "link down").await;
    let active = "Accepted/Active core=1/1";
    let warned = eventually(async || {
        let rule = site.until("narrow", active).await;
        let warned = rule.status.as_ref().unwrap().conditions.len() == 3;
        if warned { Ok(rule) } else { Err("a warning".to_owned()) }
    })
    .await;
    let reachable = condition(&warned, "Reachable");
    assert_eq!((reachable.status.as_str(), reachable.reason.as_str()), ("False", "ShadowedBy"));
    assert!(reachable.message.contains(&format!("{}/wide", site.namespace)), "{}", reachable.message);
    // Not any more.
    site.rule_with("wide", json!({}), "down", json!({"priority": 10, "match": {"severity": {"equals": 3}}})).await;
    eventually(async || {
        let conditions = site.until("narrow", active).await.status.unwrap().conditions;
        if conditions.len() == 2 { Ok(()) } else { Err(format!("no warning; seen {conditions:?}")) }
    })
    .await;
    site.stop().await;
}

#[tokio::test]
async fn without_alerters_it_is_unknown_and_one_that_lags_or_refuses_is_told() {
    let mut site = Site::new("workers").await;
    site.start();
    site.pipeline("core", json!({})).await;
    site.rule("one", json!({}), "down").await;
    let unknown = site.until("one", "Accepted/NoWorkers core=-").await;
    assert_eq!(condition(&unknown, "Active").status, "Unknown");
    let (first, second) = (site.alerter("first"), site.alerter("second"));
    site.until("one", "Accepted/Active core=2/2").await;
    // Fewer alerters change nothing that was said.
    second.leave().await;
    site.board("core", "one alerter", |state| state.alerters() == "1/1").await;
    site.until("one", "Accepted/Active core=2/2").await;

    first.refuse(&format!("{}/one", site.namespace));
    let refused = site.until("one", "Accepted/RefusedByAlerters core=-").await;
    assert!(condition(&refused, "Active").message.contains("too large"));
    site.rule("two", json!({}), "up").await;
    site.until("two", "Accepted/Active core=1/1").await;

    first.freeze();
    site.rule("two", json!({}), "up again").await;
    site.until("two", "Accepted/Pending core=-").await;
    let name = first.name().to_owned();
    let state = site.board("core", "a laggard", |state| state.alerters() == "0/1").await;
    assert_eq!(state.laggards, [name]);
    site.stop().await;
}
