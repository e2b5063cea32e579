//! What the API server takes and what it refuses, by the definitions alone.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use super::harness::{Site, spec};

fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("mutt.dev", "v1alpha1", kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Asks without writing; `Err` = what the API server said.
async fn ask(site: &Site, kind: &str, name: &str, spec: &Value) -> Result<DynamicObject, String> {
    let object = json!({"apiVersion": "mutt.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let answer =
        api(&site.client, &site.namespace, kind).create(&params, &serde_json::from_value(object).unwrap()).await;
    answer.map_err(|error| error.to_string())
}

/// `base` with values set at these JSON pointers; null takes away.
fn with(mut base: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut object = &mut base;
        for part in parent.split('/').skip(1) {
            object = object.as_object_mut().unwrap().entry(part).or_insert_with(|| json!({}));
        }
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            object[key] = value.clone();
        }
    }
    base
}

type Changes<'a> = &'a [(&'a str, Value)];

#[tokio::test]
async fn pipelines_that_are_taken() {
    let site = Site::new("admission-pipelines-taken").await;
    let cases: [(&str, Changes<'_>); 9] = [
        ("the smallest", &[("/webUi", Value::Null)]),
        ("no pods at all", &[("/alerter/replicas", json!(0))]),
        ("autoscaling", &[("/alerter/autoscaling", json!({"maxReplicas": 5}))]),
        ("an Ingress", &[("/ingress", json!({"ingestHost": "a.example.com"}))]),
        ("a Route", &[("/route", json!({"termination": "Edge"}))]),
        (
            "TLS to Redis",
            &[("/redis/url", json!("rediss://r:6380")), ("/redis/tls", json!({"caSecret": {"name": "ca"}}))],
        ),
        (
            "pod overrides",
            &[(
                "/forwarder/pod",
                json!({"extraVolumes": [{"name": "v", "emptyDir": {}}], "env": [{"name": "A", "value": "b"}]}),
            )],
        ),
        ("selectors", &[("/ruleSelector", json!({"matchLabels": {"a": "b"}})), ("/ruleNamespaceSelector", json!({}))]),
        ("an empty networkPolicy", &[("/networkPolicy", json!({}))]),
    ];
    for (what, changes) in cases {
        let answer = ask(&site, "MuttPipeline", "core", &with(spec("mutt"), changes)).await;
        assert!(answer.is_ok(), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn pipelines_that_are_refused() {
    let site = Site::new("admission-pipelines-refused").await;
    let cases: [(Changes<'_>, &str); 18] = [
        (&[("/redis", Value::Null)], "spec.redis"),
        (
            &[("/ingress", json!({"ingestHost": "a.example.com"})), ("/route", json!({}))],
            "ingress and route exclude each other",
        ),
        (&[("/ingress", json!({}))], "needs ingestHost or webUiHost"),
        (&[("/ingress", json!({"ingestHost": "a", "webUiHost": "a"}))], "must differ"),
        (
            &[("/alerter", json!({"replicas": 2, "autoscaling": {"maxReplicas": 3}}))],
            "replicas and autoscaling exclude each other",
        ),
        (
            &[("/ingestor/replicas", json!(2)), ("/ingestor/autoscaling", json!({"maxReplicas": 3}))],
            "replicas and autoscaling exclude",
        ),
        (&[("/alerter/autoscaling", json!({"minReplicas": 5, "maxReplicas": 3}))], "minReplicas must not be greater"),
        (&[("/alerter/replicas", json!(-1))], "spec.alerter.replicas"),
        (&[("/redis/url", json!("http://redis"))], "spec.redis.url"),
        (&[("/redis/url", json!("redis://user:pass@redis:6379"))], "no login in the URL"),
        (&[("/redis/tls", json!({"caSecret": {"name": "ca"}}))], "tls needs a URL"),
        (&[("/redis/keyPrefix", json!("a b"))], "spec.redis.keyPrefix"),
        (&[("/postgres/retentionMonths", json!(0))], "retentionMonths"),
        (&[("/postgres/tls", json!({"enabled": false, "caSecret": {"name": "ca"}}))], "caSecret has no effect"),
        (&[("/forwarder/pod", json!({"extraVolumes": [{"name": "v"}]}))], "exactly one of"),
        (&[("/logLevel", json!("LOUD"))], "logLevel"),
        (
            &[(
                "/ruleSelector",
                json!({"matchExpressions": [{"key": "pipeline", "operator": "in", "values": ["core"]}]}),
            )],
            "matchExpressions[0].operator",
        ),
        (
            &[("/ruleNamespaceSelector", json!({"matchExpressions": [{"key": "team", "operator": "In"}]}))],
            "In and NotIn need values",
        ),
    ];
    for (changes, said) in cases {
        let answer = ask(&site, "MuttPipeline", "core", &with(spec("mutt"), changes)).await.map(|_| ());
        assert!(answer.as_ref().is_err_and(|error| error.contains(said)), "{changes:?}: wanted {said:?}: {answer:?}");
    }
    for name in ["a".repeat(41), "0core".to_owned(), "a.b".to_owned()] {
        let answer = ask(&site, "MuttPipeline", &name, &spec("mutt")).await.map(|_| ());
        assert!(answer.as_ref().is_err_and(|error| error.contains("the name of a MuttPipeline")), "{name}: {answer:?}");
    }
    // A field that nobody knows is refused where the client asks for that, as kubectl does.
    let unknown = with(spec("mutt"), &[("/redis/sentinels", json!(["a"]))]);
    let taken = ask(&site, "MuttPipeline", "core", &unknown).await.unwrap();
    assert!(taken.data["spec"]["redis"]["sentinels"].is_null(), "it is not stored");
}

#[tokio::test]
async fn the_key_prefix_cannot_be_changed() {
    let site = Site::new("admission-prefix").await;
    site.pipeline("core", &spec("one")).await;
    let api = api(&site.client, &site.namespace, "MuttPipeline");
    let change = kube::api::Patch::Merge(json!({"spec": {"redis": {"keyPrefix": "two"}}}));
    let error = api.patch("core", &kube::api::PatchParams::default(), &change).await.unwrap_err().to_string();
    assert!(error.contains("keyPrefix cannot be changed"), "{error}");
}

fn rule() -> Value {
    json!({
        "priority": 100,
        "match": {"message": {"contains": "BGP-5-ADJCHANGE"}},
        "handling": {"production": "Page_and_ticket", "development": "Ticket_only"},
        "team": "NETO",
    })
}

#[tokio::test]
async fn rules_that_are_taken() {
    let site = Site::new("admission-rules-taken").await;
    let cases: [(&str, Changes<'_>); 6] = [
        ("a literal", &[]),
        ("a regex", &[("/match/message", json!({"regex": "neighbor .* Down"}))]),
        ("a trap alone", &[("/match", json!({"trapOid": "1.3.6.1.2.1.15.7"}))]),
        (
            "severity and hosts",
            &[("/match/severity", json!({"atMost": 3})), ("/match/hosts", json!(["core-*", "10.1.0.0/16"]))],
        ),
        ("shadow", &[("/mode", json!("Shadow"))]),
        (
            "tests",
            &[("/tests", json!([{"event": {"hostname": "a", "message": "BGP-5-ADJCHANGE"}, "expect": "match"}]))],
        ),
    ];
    for (what, changes) in cases {
        let answer = ask(&site, "AlertRule", "bgp-down", &with(rule(), changes)).await;
        assert!(answer.is_ok(), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn rules_that_are_refused() {
    let site = Site::new("admission-rules-refused").await;
    let cases: [Changes<'_>; 6] = [
        &[("/match", json!({}))],
        &[("/match/message", json!({}))],
        &[("/match/message", json!({"contains": "a", "regex": "b"}))],
        &[("/mode", json!("Loud"))],
        &[("/match/severity", json!({"atMost": 8}))],
        &[("/match", Value::Null)],
    ];
    for changes in cases {
        let answer = ask(&site, "AlertRule", "bgp-down", &with(rule(), changes)).await.map(|_| ());
        assert!(answer.is_err(), "{changes:?} was taken");
    }
}
