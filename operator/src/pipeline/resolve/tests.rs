#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! YAML → resolve → what is wrong, or one field.

mod autoscaling;

use std::collections::BTreeSet;

use mutt_crds::MuttPipeline;

use super::*;
use crate::runtime::discovery::Served;

const MINIMAL: &str = include_str!("../../../tests/golden/minimal/pipeline.yaml");

fn parse(yaml: &str) -> MuttPipeline {
    serde_saphyr::from_str(yaml).expect("a MuttPipeline")
}

/// The pipeline of the contract with `lines` added to its spec; what is there already is replaced.
fn pipeline(lines: &str) -> MuttPipeline {
    let mut whole: serde_json::Value = serde_saphyr::from_str(MINIMAL).unwrap();
    let added: serde_json::Value = serde_saphyr::from_str(lines).expect("YAML");
    for (key, value) in added.as_object().into_iter().flatten() {
        whole["spec"][key] = value.clone();
    }
    serde_json::from_value(whole).expect("a MuttPipeline")
}

/// Every Secret with every key, no optional API.
fn everything(pipeline: &MuttPipeline) -> Fetched {
    let names = SecretName::ALL.iter().flat_map(|name| name.keys().iter().copied());
    let keys: BTreeSet<String> =
        names.filter(|key| *key != "DB_USER").chain(["ca.crt", "tls.crt", "tls.key"]).map(str::to_owned).collect();
    Fetched {
        secrets: secrets_of(&pipeline.spec).into_iter().map(|name| (name, keys.clone())).collect(),
        worker_image: "mutt-worker:3".to_owned(),
        ..Fetched::default()
    }
}

fn problems(pipeline: &MuttPipeline, fetched: &Fetched) -> Vec<(Reason, String)> {
    let error = resolve(pipeline, fetched).expect_err("something is wrong");
    error.problems.into_iter().map(|problem| (problem.reason, problem.message)).collect()
}

#[test]
fn the_contracts_pipeline_is_complete() {
    let pipeline = parse(MINIMAL);
    let resolved = resolve(&pipeline, &everything(&pipeline)).unwrap();
    assert_eq!((resolved.name.as_str(), resolved.namespace.as_str()), ("core", "netops"));
    assert_eq!(resolved.image.name, "mutt-worker:3");
    assert!(resolved.roles().all(|role| role.scale == Scale::Fixed(2)));
    assert_eq!(resolved.roles().count(), 4);
    assert_eq!(resolved.warnings, []);
}

#[test]
fn every_missing_secret_is_named_once_and_every_missing_key() {
    let pipeline = pipeline("tls: {secret: server}");
    let found = problems(&pipeline, &Fetched::default());
    let secrets = ["mutt-redis", "mutt-postgres", "mutt-moog", "mutt-ingest", "mutt-webui", "server"];
    assert_eq!(found.len(), secrets.len(), "{found:?}");
    for (secret, (reason, message)) in secrets.iter().zip(&found) {
        assert_eq!(*reason, Reason::MissingSecret);
        assert!(message.contains(&format!("`{secret}`")) && message.contains("netops"), "{message}");
    }
    let mut fetched = everything(&pipeline);
    for keys in fetched.secrets.values_mut() {
        keys.retain(|key| key.ends_with("_NEXT") || key == "tls.crt");
    }
    let found = problems(&pipeline, &fetched);
    for key in ["REDIS_PASS", "DB_PASS", "MOOG_API_KEY", "INGEST_API_KEY", "WEBUI_API_KEY", "tls.key"] {
        let named = found
            .iter()
            .any(|(reason, message)| *reason == Reason::MissingSecretKey && message.contains(&format!("`{key}`")));
        assert!(named, "{key} is not named in {found:?}");
    }
    assert_eq!(found.len(), 6);
    assert!(resolve(&pipeline, &fetched).unwrap_err().waits_for_secret());
}

#[test]
fn both_names_of_a_password_will_do() {
    let pipeline = parse(MINIMAL);
    let mut fetched = everything(&pipeline);
    for name in ["mutt-redis", "mutt-postgres"] {
        fetched.secrets.get_mut(name).unwrap().retain(|key| key.ends_with("_CURRENT"));
    }
    assert!(resolve(&pipeline, &fetched).is_ok());
}

#[test]
fn what_cannot_work_is_said_with_its_field() {
    for (lines, reason, words) in [
        ("redis: {url: 'http://redis'}", Reason::InvalidUrl, "spec.redis.url"),
        ("redis: {url: 'redis://'}", Reason::InvalidUrl, "spec.redis.url"),
        ("redis: {url: 'redis://redis/first'}", Reason::InvalidUrl, "`first`"),
        ("redis: {url: 'redis://:secret@redis'}", Reason::InvalidUrl, "login"),
        ("redis: {url: 'redis://r', tls: {caSecret: {name: ca}}}", Reason::InvalidUrl, "rediss://"),
        ("postgres: {host: 'postgres://db', credentialsSecret: s}", Reason::InvalidUrl, "spec.postgres.host"),
        ("postgres: {host: db, readHost: 'a b', credentialsSecret: s}", Reason::InvalidUrl, "readHost"),
        ("moogsoft: {url: 'https://', credentialsSecret: s}", Reason::InvalidUrl, "spec.moogsoft.url"),
        ("moogsoft: {url: 'https://u:p@moog/x', credentialsSecret: s}", Reason::InvalidUrl, "login"),
        ("webUi: {apiKeySecret: s, prometheusUrl: 'ftp://p'}", Reason::InvalidUrl, "prometheusUrl"),
        (
            "moogsoft: {url: 'https://m', credentialsSecret: s, retry: {baseDelaySeconds: 90}}",
            Reason::InvalidSettings,
            "baseDelaySeconds (90)",
        ),
        ("alerter: {replicas: 3, autoscaling: {maxReplicas: 4}}", Reason::InvalidSettings, "spec.alerter"),
        (
            "alerter: {autoscaling: {maxReplicas: 4, targetCpuPercent: 70}, resources: {requests: {memory: 1Gi}}}",
            Reason::MissingCpuRequest,
            "spec.alerter",
        ),
        ("route: {}", Reason::RouteNotServed, "spec.ingress"),
        ("route: {termination: Passthrough}", Reason::InvalidTermination, "Passthrough"),
        ("{route: {}, tls: {secret: s}}", Reason::InvalidTermination, "Edge"),
        ("route: {ingestHost: a.b, webUiHost: a.b}", Reason::InvalidSettings, "must differ"),
        ("{ingress: {ingestHost: a}, route: {}}", Reason::InvalidSettings, "exclude each other"),
    ] {
        let pipeline = pipeline(lines);
        let found = problems(&pipeline, &everything(&pipeline));
        let said = found.iter().any(|(found, message)| *found == reason && message.contains(words));
        assert!(said, "{lines}: {words:?} is not in {found:?}");
        assert!(!format!("{found:?}").contains("secret@"), "a password is not repeated");
    }
}

#[test]
fn what_collides_with_the_operators_own_is_refused() {
    for (pod, words) in [
        ("env: [{name: REDIS_URL, value: x}]", "spec.redis.url"),
        ("env: [{name: SERVER_TLS_CLIENT_CA_PATH, value: x}]", "kubelet"),
        ("env: [{name: A, value: one}, {name: A, value: two}]", "A stands there twice"),
        ("extraVolumes: [{name: mutt-redis, emptyDir: {}}]", "begin with mutt-"),
        ("extraVolumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]", "`a` stands there twice"),
        ("extraVolumeMounts: [{name: a, mountPath: /a}]", "not among extraVolumes"),
        (
            "{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /etc/mutt}]}",
            "/etc/mutt",
        ),
        (
            "{extraVolumes: [{name: a, emptyDir: {}}], extraVolumeMounts: [{name: a, mountPath: /a}, {name: a, mountPath: /a}]}",
            "two mounts at /a",
        ),
    ] {
        let pod: serde_json::Value = serde_saphyr::from_str(pod).unwrap();
        let pipeline = pipeline(&serde_json::json!({"alerter": {"pod": pod}}).to_string());
        let found = problems(&pipeline, &everything(&pipeline));
        let expected = |(reason, message): &(Reason, String)| {
            *reason == Reason::InvalidPodOverrides
                && message.starts_with("spec.alerter.pod.")
                && message.contains(words)
        };
        assert!(found.iter().all(expected) && !found.is_empty(), "{words:?}: {found:?}");
    }
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let served = Served { route: true, ..Served::default() };
    for (lines, reason) in [
        ("monitoring: {serviceMonitor: {}}", Reason::ServiceMonitorNotServed),
        ("monitoring: {prometheusRule: {}}", Reason::PrometheusRuleNotServed),
        ("forwarder: {replicas: 5}", Reason::MoreForwardersThanUseful),
        ("{webUi: null, ingress: {ingestHost: a, webUiHost: b}}", Reason::WithoutEffect),
        ("route: {destinationCaCertificate: x}", Reason::WithoutEffect),
    ] {
        let pipeline = pipeline(lines);
        let fetched = Fetched { served, ..everything(&pipeline) };
        let resolved = resolve(&pipeline, &fetched).unwrap_or_else(|error| panic!("{lines}: {error}"));
        let reasons: Vec<Reason> = resolved.warnings.iter().map(|warning| warning.reason).collect();
        assert_eq!(reasons, [reason], "{lines}");
    }
    let fast = pipeline(
        "{forwarder: {replicas: 5}, moogsoft: {url: 'https://m', credentialsSecret: s, rateLimit: {alerts: 320}}}",
    );
    assert_eq!(resolve(&fast, &everything(&fast)).unwrap().warnings, []);
}

#[test]
fn a_user_named_by_the_secret_is_seen() {
    let pipeline = parse(MINIMAL);
    let mut fetched = everything(&pipeline);
    assert!(!resolve(&pipeline, &fetched).unwrap().database_user_in_secret);
    fetched.secrets.get_mut("mutt-postgres").unwrap().insert("DB_USER".to_owned());
    assert!(resolve(&pipeline, &fetched).unwrap().database_user_in_secret);
}

#[test]
fn the_operator_may_ask_where_scrapers_are_named() {
    let scrapers = |lines: &str| {
        let pipeline = pipeline(lines);
        let fetched = Fetched { operator_namespace: Some("mutt-system".to_owned()), ..everything(&pipeline) };
        resolve(&pipeline, &fetched).unwrap().network_policy.unwrap().scrapers.len()
    };
    assert_eq!(scrapers("{networkPolicy: {}}"), 0, "everybody may");
    assert_eq!(scrapers("{networkPolicy: {scrapers: [{podSelector: {}}]}}"), 2);
}
