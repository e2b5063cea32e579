#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::{
    external_metrics::Standing,
    pipeline::{
        error::{ChildError, Class},
        kinds::ChildKind,
        resolve::{Component, Fetched, Problem, Reason, Resolved, resolve, secrets_of},
    },
    runtime::discovery::Served,
};

/// What a test says about a pipeline; the rest is in order.
struct Case {
    paused: bool,
    errors: Vec<Error>,
    warnings: Vec<Warning>,
    present: Present,
    symptoms: Symptoms,
    /// What is set of the alerter's autoscaling, and whether KEDA is there.
    alerter: Value,
    keda: bool,
    waiting: BTreeMap<String, String>,
    rules: Option<RulesState>,
    before: Option<MuttPipelineStatus>,
    now: i64,
}

impl Case {
    fn in_order() -> Self {
        let rules = RulesState {
            revision: Some("3f1c0a9be217aa".into()),
            accepted: 3,
            alerters_active: 2,
            alerters_alive: 2,
            ..RulesState::default()
        };
        Self {
            paused: false,
            errors: Vec::new(),
            warnings: Vec::new(),
            present: [role("ingestor", 2), role("alerter", 2), role("forwarder", 2)].into(),
            symptoms: Symptoms::new(),
            alerter: Value::Null,
            keda: false,
            waiting: BTreeMap::new(),
            rules: Some(rules),
            before: None,
            now: 1_000,
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> MuttPipelineStatus {
        let mut case = Self::in_order();
        change(&mut case);
        case.status()
    }

    fn status(&self) -> MuttPipelineStatus {
        let roles = [(Component::Ingestor, 2), (Component::Alerter, 2), (Component::Forwarder, 2)];
        status(&Findings {
            generation: Some(7),
            paused: self.paused,
            errors: &self.errors,
            warnings: &self.warnings,
            workloads: &workloads(&roles, "core", &[], &self.present),
            autoscaling: Some(&Autoscaling::new(&self.resolved(), self.waiting.clone())),
            symptoms: &self.symptoms,
            rules: self.rules.as_ref(),
            before: self.before.as_ref(),
            now: Time(Timestamp::from_second(self.now).unwrap()),
        })
    }
}

impl Case {
    /// The contract's pipeline with the alerter's autoscaling.
    fn resolved(&self) -> Resolved {
        let yaml = include_str!("../../../tests/golden/minimal/pipeline.yaml");
        let mut pipeline: Value = serde_saphyr::from_str(yaml).unwrap();
        if !self.alerter.is_null() {
            pipeline["spec"]["alerter"]["autoscaling"] = self.alerter.clone();
        }
        let pipeline: mutt_crds::MuttPipeline = serde_json::from_value(pipeline).unwrap();
        let keys = ["REDIS_PASS", "DB_PASS", "MOOG_API_KEY", "INGEST_API_KEY", "WEBUI_API_KEY"].map(str::to_owned);
        let fetched = Fetched {
            secrets: secrets_of(&pipeline.spec).into_iter().map(|name| (name, keys.clone().into())).collect(),
            served: Served { keda: self.keda, ..Served::default() },
            operator_url: Some("http://operator.mutt.svc:8080".into()),
            external_metrics: Standing::Free,
            ..Fetched::default()
        };
        resolve(&pipeline, &fetched).unwrap()
    }
}

type Child = ((ChildKind, String), Arc<kube::core::DynamicObject>);

fn child(kind: ChildKind, name: &str, object: &Value) -> Child {
    let mut object = object.clone();
    object["metadata"] = json!({"name": name, "generation": 3});
    ((kind, name.to_owned()), Arc::new(serde_json::from_value(object).unwrap()))
}

/// A Deployment of two pods, so many of them ready.
fn role(name: &str, ready: i32) -> Child {
    let object = json!({
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": ready, "availableReplicas": ready},
    });
    child(ChildKind::Deployment, &format!("core-{name}"), &object)
}

fn condition<'a>(status: &'a MuttPipelineStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

fn says(status: &MuttPipelineStatus, type_: &str) -> (String, String) {
    let condition = condition(status, type_);
    (condition.status.clone(), condition.reason.clone())
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn a_pipeline_in_order_is_ready_and_says_so_in_every_condition() {
    let status = Case::with(|_| {});
    assert_eq!(says(&status, "Ready"), is("True", "Running"));
    assert_eq!(says(&status, "Progressing"), is("False", "Complete"));
    assert_eq!(says(&status, "Degraded"), is("False", "AsExpected"));
    assert_eq!(says(&status, "RulesActive"), is("True", "AllActive"));
    assert_eq!(says(&status, "AutoscalingReady"), is("True", "None"));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(7)));
    assert!(status.conditions.iter().all(|condition| !condition.message.is_empty() && !condition.reason.is_empty()));
}

#[test]
fn a_rollout_is_progress_and_no_trouble() {
    let half = json!({
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": {"observedGeneration": 3, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1},
    });
    let status = Case::with(|case| case.present.extend([child(ChildKind::Deployment, "core-alerter", &half)]));
    assert_eq!(says(&status, "Ready"), is("False", "RollingOut"));
    assert_eq!(says(&status, "Progressing"), is("True", "RollingOut"));
    assert_eq!(says(&status, "Degraded"), is("False", "AsExpected"));
    assert!(condition(&status, "Progressing").message.contains("alerter: 1 of 2 ready"));
    // The Deployment's controller has not looked at the newest form: its numbers say nothing of it.
    let stale = json!({
        "spec": {"replicas": 2, "selector": {}, "template": {}},
        "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2},
    });
    let status = Case::with(|case| case.present.extend([child(ChildKind::Deployment, "core-alerter", &stale)]));
    assert_eq!(says(&status, "Progressing"), is("True", "RollingOut"));
    assert_eq!(says(&status, "Ready"), is("True", "Running"), "what runs goes on");
}

#[test]
fn pods_that_do_not_get_ready_are_no_rollout_and_trouble_if_it_lasts() {
    let status = Case::with(|case| case.present.extend([role("alerter", 1)]));
    assert_eq!(says(&status, "Ready"), is("False", "PodsNotReady"));
    assert_eq!(says(&status, "Progressing"), is("True", "PodsNotReady"));
    assert_eq!(says(&status, "Degraded"), is("False", "AsExpected"));
    let with = |said: Value| {
        let (key, object) = role("alerter", 0);
        let mut object = serde_json::to_value(&*object).unwrap();
        object["status"]["conditions"] = json!([said]);
        Case::with(|case| _ = case.present.insert(key, Arc::new(serde_json::from_value(object).unwrap())))
    };
    let unavailable = |since: i64| {
        let since = Timestamp::from_second(since).unwrap().to_string();
        json!({"type": "Available", "status": "False", "lastTransitionTime": since})
    };
    assert_eq!(says(&with(unavailable(900)), "Degraded"), is("False", "AsExpected"));
    let overdue = json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"});
    for said in [unavailable(600), overdue] {
        let status = with(said);
        assert_eq!(says(&status, "Degraded"), is("True", "PodsNotReady"));
        assert_eq!(says(&status, "Progressing"), is("False", "PodsNotReady"));
        assert!(condition(&status, "Degraded").message.contains("alerter: 0 of 2 ready"));
    }
}

#[test]
fn redis_is_named_where_it_does_not_answer() {
    let status = Case::with(|case| {
        case.rules =
            Some(RulesState { redis_error: Some("redis:6379: connection refused".into()), ..RulesState::default() });
    });
    for type_ in ["Ready", "RulesActive"] {
        assert_eq!(says(&status, type_), is("False", "RedisUnreachable"), "{type_}");
    }
    assert_eq!(says(&status, "Degraded"), is("True", "RedisUnreachable"));
    assert!(condition(&status, "Ready").message.contains("connection refused"));
}

#[test]
fn rules_that_are_not_everywhere_yet_leave_the_pipeline_ready() {
    let status = Case::with(|case| {
        let rules = case.rules.as_mut().unwrap();
        rules.alerters_active = 1;
        rules.laggards = (0..20).map(|number| format!("alerter-{number}")).collect();
        rules.rejected = 1;
    });
    assert_eq!(says(&status, "RulesActive"), is("False", "Distributing"));
    assert_eq!(says(&status, "Ready"), is("True", "Running"));
    assert_eq!(status.rules.unwrap().laggards.len(), LAGGARDS_MAX);
    let status = Case::with(|case| case.rules.as_mut().unwrap().alerters_alive = 0);
    assert_eq!(says(&status, "RulesActive"), is("Unknown", "NoAlerters"));
    let status = Case::with(|case| case.rules = None);
    assert_eq!(says(&status, "RulesActive"), is("Unknown", "NotYetKnown"));
    assert_eq!(says(&status, "Ready"), is("Unknown", "NotYetKnown"));
}

#[test]
fn a_schema_that_cannot_be_made_is_said_with_the_databases_words() {
    let job = child(ChildKind::Job, "core-database-1", &json!({"spec": {"template": {}}}));
    let status = Case::with(|case| {
        case.present.remove(&(ChildKind::Deployment, "core-alerter".to_owned()));
        case.present.extend([job]);
        let words = "pod x: ended with code 1: password authentication failed".to_owned();
        case.symptoms.insert((ChildKind::Job, "core-database-1".to_owned()), words);
    });
    assert_eq!(says(&status, "Progressing"), is("True", "MigratingDatabase"));
    assert_eq!(says(&status, "Degraded"), is("True", "MigrationFailing"));
    assert_eq!(says(&status, "Ready"), is("False", "MigrationFailing"));
    assert!(condition(&status, "Ready").message.contains("password authentication failed"));
}

#[test]
fn errors_of_a_person_degrade_and_those_that_pass_do_not() {
    let failed = |error| Error::Child { kind: ChildKind::Service, name: "core-ingestor".into(), error };
    let status = Case::with(|case| case.errors.push(failed(ChildError::NameTaken { owner: Some("Helm x".into()) })));
    assert_eq!(says(&status, "Degraded"), is("True", "NameTaken"));
    assert_eq!(says(&status, "Ready"), is("True", "Running"), "what runs goes on");
    let status = Case::with(|case| case.errors.push(failed(ChildError::Api("etcd is slow".into(), Class::Transient))));
    assert_eq!(says(&status, "Degraded"), is("False", "AsExpected"));
    assert_eq!(says(&status, "Progressing"), is("True", "Retrying"));
    let status = Case::with(|case| {
        case.errors.push(Error::KeyPrefixInUse { other: "a/b".into(), prefix: "mutt".into() });
    });
    for (type_, expected) in [("Ready", "False"), ("Progressing", "False"), ("Degraded", "True")] {
        assert_eq!(says(&status, type_), is(expected, "KeyPrefixInUse"), "{type_}");
    }
}

#[test]
fn a_child_that_cannot_be_written_is_neither_done_nor_unwanted() {
    let refused = |kind| {
        let error = ChildError::Refused("spec: Invalid value".into(), kind);
        Error::Child { kind, name: "core-alerter".into(), error }
    };
    let status = Case::with(|case| case.errors.push(refused(ChildKind::Deployment)));
    assert_eq!(says(&status, "Ready"), is("True", "Running"), "the old form goes on");
    assert_eq!(says(&status, "Progressing"), is("False", "ChildRefused"));
    let status = Case::with(|case| case.errors.push(refused(ChildKind::HorizontalPodAutoscaler)));
    assert_eq!(says(&status, "AutoscalingReady"), is("False", "ChildRefused"));
    let status = Case::with(|case| {
        case.present.remove(&(ChildKind::Deployment, "core-alerter".to_owned()));
        case.errors.push(refused(ChildKind::Job));
    });
    assert_eq!(says(&status, "Progressing"), is("False", "ChildRefused"));
    assert_eq!(says(&status, "Ready"), is("False", "ChildRefused"));
}

#[test]
fn what_is_good_to_know_is_said_without_alarm() {
    let warning = Problem { reason: Reason::ServiceMonitorNotServed, message: "no Prometheus operator".into() };
    let status = Case::with(|case| case.warnings.push(warning));
    assert_eq!(says(&status, "Degraded"), is("False", "ServiceMonitorNotServed"));
    assert_eq!(says(&status, "Ready"), is("True", "Running"));
}

#[test]
fn a_condition_keeps_its_time_until_its_status_is_another() {
    let mut case = Case::in_order();
    let first = case.status();
    case.before = Some(first.clone());
    case.now = 2_000;
    assert_eq!(case.status(), first, "nothing is new, so nothing is different");
    case.present.extend([role("alerter", 1)]);
    let second = case.status();
    let since = |status: &MuttPipelineStatus, type_| condition(status, type_).last_transition_time.0.as_second();
    assert_eq!(since(&second, "Ready"), 2_000);
    assert_eq!(since(&second, "RulesActive"), 1_000);
}

#[test]
fn a_paused_pipeline_says_so() {
    let status = Case::with(|case| case.paused = true);
    assert_eq!(says(&status, "Ready"), is("True", "Paused"));
    assert_eq!(says(&status, "Progressing"), is("False", "Paused"));
}

/// An autoscaler of the alerter that says this.
fn scaler(kind: ChildKind, name: &str, conditions: &Value) -> Child {
    let spec = json!({"scaleTargetRef": {"kind": "Deployment", "name": "core-alerter"}, "maxReplicas": 9, "minReplicaCount": 0});
    let status = json!({"desiredReplicas": 2, "currentReplicas": 2, "conditions": conditions});
    child(kind, name, &json!({"spec": spec, "status": status}))
}

fn said(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": message})
}

#[test]
fn autoscaling_names_mode_and_reason_and_what_keeps_it_from_working() {
    let hpa = ChildKind::HorizontalPodAutoscaler;
    let with = |conditions: &[Value]| {
        Case::with(|case| {
            case.alerter = json!({"maxReplicas": 9});
            if !conditions.is_empty() {
                case.present.extend([scaler(hpa, "core-alerter", &json!(conditions))]);
            }
        })
    };
    assert_eq!(says(&with(&[]), "AutoscalingReady"), is("Unknown", "Pending"));
    assert_eq!(says(&with(&[said("AbleToScale", "True", "x", "")]), "AutoscalingReady"), is("Unknown", "Pending"));
    let works = with(&[said("AbleToScale", "True", "x", ""), said("ScalingActive", "True", "ValidMetricFound", "")]);
    assert_eq!(says(&works, "AutoscalingReady"), is("True", "External"));
    assert_eq!(condition(&works, "AutoscalingReady").message, "alerter: External (KEDA is not installed)");
    let redis = "unable to fetch metrics: redis:6379 does not answer since 73 s";
    let failing = with(&[said("ScalingActive", "False", "FailedGetExternalMetric", redis)]);
    assert_eq!(says(&failing, "AutoscalingReady"), is("False", "FailedGetExternalMetric"));
    let message = &condition(&failing, "AutoscalingReady").message;
    assert!(
        message.contains("core-alerter: unable to fetch metrics: redis:6379 does not answer since … s"),
        "{message}"
    );
    assert!(message.ends_with("; alerter: External (KEDA is not installed)"), "{message}");
    let off = with(&[said("ScalingActive", "False", "ScalingDisabled", "zero pods")]);
    assert_eq!(says(&off, "AutoscalingReady"), is("False", "ScalingDisabled"));
    assert!(condition(&off, "AutoscalingReady").message.contains("kubectl scale"));
}

#[test]
fn kedas_words_count_and_those_of_its_autoscaler() {
    let (object, hpa) = (ChildKind::ScaledObject, ChildKind::HorizontalPodAutoscaler);
    let with = |conditions: &Value, of_hpa: Option<&Value>| {
        Case::with(|case| {
            (case.alerter, case.keda) = (json!({"minReplicas": 0, "maxReplicas": 9}), true);
            case.present.extend([scaler(object, "core-alerter", conditions)]);
            case.present.extend(of_hpa.map(|conditions| scaler(hpa, "keda-hpa-core-alerter", conditions)));
        })
    };
    let ready = json!([said("Ready", "True", "ScaledObjectReady", ""), said("Active", "False", "ScalerNotActive", "")]);
    let asleep = json!([said("ScalingActive", "False", "ScalingDisabled", "zero pods")]);
    for (conditions, of_hpa, expected) in [
        (json!([said("Ready", "Unknown", "", "")]), None, is("Unknown", "Pending")),
        (ready.clone(), None, is("True", "Keda")),
        (ready.clone(), Some(&asleep), is("True", "Keda")),
        (
            ready.clone(),
            Some(&json!([said("ScalingActive", "False", "AmbiguousSelector", "two")])),
            is("False", "AmbiguousSelector"),
        ),
        (json!([said("Ready", "False", "TriggerError", "no")]), None, is("False", "TriggerError")),
        (json!([said("Ready", "Unknown", "PartialTriggerError", "no")]), None, is("False", "PartialTriggerError")),
        (
            json!([said("Ready", "True", "r", ""), said("Paused", "True", "ScaledObjectPaused", "is paused")]),
            None,
            is("False", "ScaledObjectPaused"),
        ),
    ] {
        assert_eq!(says(&with(&conditions, of_hpa), "AutoscalingReady"), expected, "{conditions} {of_hpa:?}");
    }
}

#[test]
fn autoscaling_says_what_it_waits_for_and_what_cannot_be() {
    let status = Case::with(|case| {
        case.alerter = json!({"maxReplicas": 9});
        case.waiting.insert("core-alerter".into(), "until ScaledObject core-alerter is gone".into());
    });
    assert_eq!(says(&status, "AutoscalingReady"), is("Unknown", "Switching"));
    let message = &condition(&status, "AutoscalingReady").message;
    assert_eq!(message, "alerter: External waits until ScaledObject core-alerter is gone");
    let status = Case::with(|case| case.alerter = json!({"mode": "Keda", "maxReplicas": 9}));
    assert_eq!(says(&status, "AutoscalingReady"), is("False", "KedaNotServed"));
    let message = &condition(&status, "AutoscalingReady").message;
    assert!(message.starts_with("alerter: Keda is not possible: KEDA is not installed"), "{message}");
    let status = Case::with(|case| case.alerter = json!({"mode": "None", "maxReplicas": 9}));
    assert_eq!(says(&status, "AutoscalingReady"), is("True", "None"));
    // An autoscaler whose Deployment waits for the schema has nothing to scale.
    let hpa = ChildKind::HorizontalPodAutoscaler;
    let status = Case::with(|case| {
        case.alerter = json!({"maxReplicas": 9});
        case.present.remove(&(ChildKind::Deployment, "core-alerter".to_owned()));
        let conditions = json!([said("AbleToScale", "False", "FailedGetScale", "not found")]);
        case.present.extend([scaler(hpa, "core-alerter", &conditions)]);
    });
    assert_eq!(says(&status, "AutoscalingReady"), is("Unknown", "Pending"));
}
