//! Tables: what is known → what the status says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::acks::Waiting;
use super::status::*;
use super::{acks::Binding, acks::Use, form::Verdict, index::RuleObject};
use k8s_openapi::jiff::Timestamp;
use mutt_crds::AlertRuleStatus;
use std::time::{Duration, Instant};

fn object(enabled: bool) -> RuleObject {
    let spec = json!({"match": {"message": {"contains": "x"}}, "team": "T", "enabled": enabled,
                      "handling": {"production": "Ignore", "development": "Ignore"}});
    RuleObject {
        name: "ns/a".into(),
        uid: "u".into(),
        generation: 3,
        labels: BTreeMap::new(),
        spec: Ok(Arc::new(serde_json::from_value(spec).unwrap())),
        status: AlertRuleStatus::default(),
        version: 1,
        is_listed: false,
    }
}

fn good() -> Verdict {
    Verdict::Accepted { warnings: vec![] }
}

fn binding(use_: Use) -> Vec<(String, Binding)> {
    vec![("ns/p".to_owned(), Binding { hash: Some("abc".into()), use_ })]
}

fn waiting(since: Instant, active: usize, alive: usize) -> Waiting {
    let laggards = (active..alive).map(|number| format!("w{number}")).collect();
    Waiting { since, active, alive, laggards, in_trouble: false }
}

/// `type=status/reason` of all conditions and the first binding's count, at some time after the change.
fn said(object: &RuleObject, verdict: &Verdict, bindings: Vec<(String, Binding)>, after: Duration) -> String {
    let now = Instant::now();
    let bindings = bindings
        .into_iter()
        .map(|(name, mut binding)| {
            if let Use::Waiting(waiting) = &mut binding.use_ {
                waiting.since = now;
            }
            (name, binding)
        })
        .collect();
    let facts = Facts { object, verdict, bindings, shadow: None, changed: now };
    match decide(&facts, now + after, Timestamp::UNIX_EPOCH) {
        Decision::Wait(_) => "wait".to_owned(),
        Decision::Be(status) => {
            let conditions = status.conditions.iter().map(|c| format!("{}={}/{}", c.type_, c.status, c.reason));
            let counts = status.pipelines.iter().map(|p| p.active.clone().unwrap_or_else(|| "-".into()));
            conditions.chain(counts).collect::<Vec<_>>().join(" ")
        }
    }
}

#[test]
fn a_change_is_told_once_it_is_active_or_after_a_second() {
    let (on, second, now) = (object(true), Duration::from_secs(1), Instant::now());
    let lag = |active, alive| binding(Use::Waiting(waiting(now, active, alive)));
    let mut trouble = waiting(now, 0, 2);
    trouble.in_trouble = true;
    let active = binding(Use::Active("2/2".into()));
    let table = [
        (active.clone(), Duration::ZERO, "Accepted=True/Accepted Active=True/Active 2/2"),
        (lag(1, 2), Duration::ZERO, "wait"),
        (lag(1, 2), second, "Accepted=True/Accepted Active=False/Pending -"),
        (lag(1, 2), LAG, "Accepted=True/Accepted Active=False/AlertersLag 1/2"),
        (lag(0, 0), second, "Accepted=True/Accepted Active=Unknown/NoWorkers -"),
        (lag(0, 0), LAG, "Accepted=True/Accepted Active=Unknown/NoWorkers -"),
        (binding(Use::Waiting(trouble)), second, "Accepted=True/Accepted Active=Unknown/NotPublished -"),
        (binding(Use::Refused("x".into())), Duration::ZERO, "Accepted=True/Accepted Active=False/RefusedByAlerters -"),
        (vec![], Duration::ZERO, "wait"),
        (vec![], second, "Accepted=True/Accepted Active=False/NotSelected"),
        ([active.clone(), lag(0, 1)].concat(), Duration::ZERO, "wait"),
        ([active.clone(), lag(0, 1)].concat(), second, "Accepted=True/Accepted Active=False/Pending 2/2 -"),
    ];
    for (bindings, after, expected) in table {
        assert_eq!(said(&on, &good(), bindings.clone(), after), expected, "{bindings:?} after {after:?}");
    }
    assert_eq!(said(&object(false), &good(), active, Duration::ZERO), "Accepted=True/Accepted Active=False/Disabled -");
}

#[test]
fn a_rejected_rule_keeps_what_is_said_of_its_last_good_form() {
    let bad = Verdict::Rejected { reason: "Invalid", message: "spec.match.message.regex: unclosed group".into() };
    let mut object = object(true);
    let rejected = "Accepted=False/Invalid Active=False/Rejected";
    let active = binding(Use::Active("2/2".into()));
    assert_eq!(said(&object, &bad, active, Duration::ZERO), format!("{rejected} 2/2"));
    let nothing = vec![("ns/p".to_owned(), Binding { hash: None, use_: Use::None })];
    assert_eq!(said(&object, &bad, nothing, Duration::ZERO), format!("{rejected} -"));
    // After a restart, while Redis has not said yet what it serves, the status keeps its word.
    object.status.pipelines =
        vec![mutt_crds::PipelineBinding { name: "ns/p".into(), hash: Some("abc".into()), active: Some("3/3".into()) }];
    let unknown = vec![("ns/p".to_owned(), Binding { hash: None, use_: Use::Unknown })];
    assert_eq!(said(&object, &bad, unknown, Duration::ZERO), format!("{rejected} 3/3"));
}

#[test]
fn the_time_of_a_transition_stays_until_the_status_flips_and_laggards_are_named() {
    let now = Instant::now();
    let mut object = object(true);
    let shadow = Some(("ns/before".to_owned(), "ns/p".to_owned()));
    let verdict = good();
    let at = |second| Timestamp::from_second(second).unwrap();
    let status = |object: &RuleObject, use_, second| {
        let facts = Facts { object, verdict: &verdict, bindings: binding(use_), shadow: shadow.clone(), changed: now };
        match decide(&facts, now + LAG, at(second)) {
            Decision::Be(status) => *status,
            Decision::Wait(_) => panic!("nothing to wait for"),
        }
    };
    object.status = status(&object, Use::Active("2/2".into()), 100);
    assert!(object.status.conditions[2].message.contains("ns/before"), "{:?}", object.status.conditions[2]);
    assert_eq!(object.status.conditions[2].type_, "Reachable");
    assert_eq!(status(&object, Use::Active("2/2".into()), 200), object.status, "nothing to write");
    let lagging = status(&object, Use::Waiting(waiting(now, 0, 7)), 300);
    let times: Vec<i64> = lagging.conditions.iter().map(|c| c.last_transition_time.0.as_second()).collect();
    assert_eq!(times, [100, 300, 100]);
    assert!(
        lagging.conditions[1].message.contains("w0, w1, w2, w3, w4 and 2 more"),
        "{}",
        lagging.conditions[1].message
    );
    assert!(lagging.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
}
