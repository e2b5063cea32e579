//! Selection, last good forms, and what a change of one rule costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;
use mutt_crds::AlertRuleStatus;
use mutt_rules::{AlertRuleSpec, Rule, RuleSet, shadowed};
use serde_json::json;

use super::board::PipelineKey;
use super::form::{Form, judge};
use super::index::{Index, PipelineObject, PipelineSet, PipelineSettings, RuleObject};
use super::keyspace::Turn;

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn spec(text: &str) -> AlertRuleSpec {
    let (kind, text) = text.split_once('=').unwrap_or(("contains", text));
    let spec = json!({"match": {"message": {kind: text}}, "team": "T",
                      "handling": {"production": "Ignore", "development": "Ignore"}});
    serde_json::from_value(spec).unwrap()
}

fn rule(name: &str, rule_labels: &[(&str, &str)], spec: AlertRuleSpec) -> RuleObject {
    RuleObject {
        name: name.to_owned(),
        uid: format!("uid of {name}"),
        generation: 1,
        labels: labels(rule_labels),
        spec: Ok(Arc::new(spec)),
        status: AlertRuleStatus::default(),
        version: 1,
        is_listed: false,
    }
}

#[allow(clippy::unnecessary_wraps)]
fn selector(match_labels: &[(&str, &str)]) -> Option<LabelSelector> {
    Some(LabelSelector { match_labels: Some(labels(match_labels)), ..LabelSelector::default() })
}

fn pipeline(name: &str, rules: Option<LabelSelector>, namespaces: Option<LabelSelector>) -> PipelineObject {
    let (namespace, name) = name.split_once('/').unwrap();
    let settings = PipelineSettings {
        redis: mutt_crds::pipeline::RedisSpec { key_prefix: name.to_owned(), ..Default::default() },
        development_hosts: BTreeSet::from(["lab-1".to_owned()]),
        teams: BTreeMap::new(),
    };
    PipelineObject {
        key: PipelineKey::new(namespace, name),
        uid: format!("uid of {name}"),
        turn: Turn::of(&ObjectMeta { uid: Some(format!("uid of {name}")), ..ObjectMeta::default() }),
        rule_selector: rules,
        namespace_selector: namespaces,
        settings: Arc::new(settings),
    }
}

/// Judges what is to be judged; returns how many that were, and the sets that changed.
fn turn(index: &mut Index) -> (usize, BTreeMap<String, Option<PipelineSet>>) {
    let unjudged = index.unjudged();
    for (name, spec) in &unjudged {
        let (verdict, form) = judge(name, spec);
        index.judged(name, verdict, form);
    }
    let sets = index.changes().sets;
    (unjudged.len(), sets.into_iter().map(|(key, set)| (key.to_string(), set)).collect())
}

fn texts(set: &PipelineSet) -> Vec<String> {
    let text = |form: &Arc<Form>| {
        let message = form.rule.spec.matches.message.clone().unwrap();
        format!("{}:{}", form.name(), message.contains.or(message.regex).unwrap())
    };
    set.forms.iter().map(text).collect()
}

fn served(sets: &BTreeMap<String, Option<PipelineSet>>, pipeline: &str) -> Vec<String> {
    texts(sets[pipeline].as_ref().unwrap())
}

#[test]
fn a_pipeline_has_the_rules_that_it_selects() {
    let mut index = Index::default();
    index.apply_namespace("one", Some(labels(&[("team", "netops")])));
    index.apply_namespace("two", Some(labels(&[("team", "netops")])));
    index.apply_namespace("three", Some(labels(&[])));
    for namespace in ["one", "two", "three"] {
        for (name, value) in [("a", "core"), ("b", "edge")] {
            index.apply_rule(rule(&format!("{namespace}/{name}"), &[("pipeline", value)], spec("x")));
        }
    }
    index.apply_pipeline(pipeline("one/own", None, None));
    index.apply_pipeline(pipeline("one/core", selector(&[("pipeline", "core")]), None));
    index.apply_pipeline(pipeline("three/team", selector(&[("pipeline", "edge")]), selector(&[("team", "netops")])));
    index.apply_pipeline(pipeline("three/all", None, selector(&[])));
    let (judged, sets) = turn(&mut index);
    assert_eq!(judged, 6);
    assert_eq!(served(&sets, "one/own"), ["one/a:x", "one/b:x"], "two pipelines share a namespace");
    assert_eq!(served(&sets, "one/core"), ["one/a:x"]);
    assert_eq!(served(&sets, "three/team"), ["one/b:x", "two/b:x"]);
    assert_eq!(sets["three/all"].as_ref().unwrap().forms.len(), 6);
    assert_eq!(index.rule("one/a").unwrap().pipelines.len(), 3);

    // Labels of a rule, labels of a namespace, selectors: only the pipelines that are touched get a new set.
    index.apply_rule(rule("one/a", &[("pipeline", "edge")], spec("x")));
    let (judged, sets) = turn(&mut index);
    assert_eq!((judged, sets.len()), (0, 2));
    assert!(!served(&sets, "one/core").contains(&"one/a:x".to_owned()));
    assert_eq!(served(&sets, "three/team"), ["one/a:x", "one/b:x", "two/b:x"]);
    index.apply_namespace("two", Some(labels(&[])));
    assert_eq!(served(&turn(&mut index).1, "three/team"), ["one/a:x", "one/b:x"]);
    index.apply_pipeline(pipeline("one/core", selector(&[("pipeline", "edge")]), None));
    let sets = turn(&mut index).1;
    assert_eq!((sets.len(), served(&sets, "one/core")), (1, vec!["one/a:x".to_owned(), "one/b:x".to_owned()]));
    // Renamed: gone and new.
    index.delete_rule("one/b");
    index.apply_rule(rule("one/c", &[("pipeline", "edge")], spec("x")));
    assert_eq!(served(&turn(&mut index).1, "one/core"), ["one/a:x", "one/c:x"]);
    index.delete_pipeline(&PipelineKey::new("one", "core"));
    assert!(turn(&mut index).1["one/core"].is_none());
    assert!(!index.rule("one/a").unwrap().pipelines.contains(&PipelineKey::new("one", "core")));
}

#[test]
fn a_rejected_rule_stays_in_its_last_good_form() {
    let mut index = Index::default();
    index.apply_pipeline(pipeline("ns/p", None, None));
    index.apply_rule(rule("ns/a", &[], spec("good")));
    index.apply_rule(rule("ns/b", &[], spec("other")));
    turn(&mut index);
    index.apply_rule(rule("ns/a", &[], spec("regex=bad(")));
    let (judged, sets) = turn(&mut index);
    assert_eq!((judged, served(&sets, "ns/p")), (1, vec!["ns/a:good".to_owned(), "ns/b:other".to_owned()]));
    let set = sets["ns/p"].as_ref().unwrap();
    assert_eq!((set.accepted, set.rejected, set.lost.len()), (1, 1, 0));
    // A broken rule that is switched off is off.
    let off = |text: &str| AlertRuleSpec { enabled: false, ..spec(text) };
    index.apply_rule(rule("ns/a", &[], off("regex=bad(")));
    assert_eq!(served(&turn(&mut index).1, "ns/p"), ["ns/b:other"]);
    index.apply_rule(rule("ns/a", &[], off("good")));
    let sets = turn(&mut index).1;
    assert_eq!(sets["ns/p"].as_ref().unwrap().accepted, 2, "a disabled rule is accepted");
    // Another object of that name has no last good form.
    let mut again = rule("ns/a", &[], spec("regex=bad("));
    again.uid = "another".to_owned();
    index.apply_rule(again);
    let sets = turn(&mut index).1;
    assert_eq!(served(&sets, "ns/p"), ["ns/b:other"]);
    assert!(sets["ns/p"].as_ref().unwrap().lost.contains("ns/a"));
    // What cannot be read is a rejected rule, too.
    let mut unreadable = rule("ns/b", &[], spec("x"));
    unreadable.spec = Err("missing field `team`".to_owned());
    index.apply_rule(unreadable);
    let sets = turn(&mut index).1;
    assert_eq!((served(&sets, "ns/p"), sets["ns/p"].as_ref().unwrap().rejected), (vec!["ns/b:other".to_owned()], 2));
}

#[test]
fn after_a_restart_the_last_good_form_comes_from_what_is_served() {
    let mut index = Index::default();
    index.apply_pipeline(pipeline("ns/p", None, None));
    index.apply_rule(rule("ns/a", &[], spec("regex=bad(")));
    index.apply_rule(rule("ns/b", &[], spec("good")));
    let sets = turn(&mut index).1;
    assert_eq!(sets["ns/p"].as_ref().unwrap().lost, BTreeSet::from(["ns/a".to_owned()]));
    let found = |name: &str| Arc::new(Form::recovered(Rule { id: None, name: name.to_owned(), spec: spec("before") }));
    for name in ["ns/a", "ns/b", "ns/gone"] {
        index.recover(&found(name));
    }
    let sets = turn(&mut index).1;
    assert_eq!(served(&sets, "ns/p"), ["ns/a:before", "ns/b:good"]);
    assert!(sets["ns/p"].as_ref().unwrap().lost.is_empty());
}

#[test]
fn of_ten_thousand_rules_only_the_changed_one_is_judged_and_serialised() {
    let mut index = Index::default();
    index.apply_pipeline(pipeline("ns/p", None, None));
    for number in 0..10_000 {
        index.apply_rule(rule(&format!("ns/r{number}"), &[], spec(&format!("message number {number} of many"))));
    }
    let (judged, sets) = turn(&mut index);
    let before = sets["ns/p"].clone().unwrap();
    assert_eq!((judged, before.forms.len()), (10_000, 10_000));
    index.apply_rule(rule("ns/r77", &[], spec("changed")));
    let (judged, sets) = turn(&mut index);
    let after = sets["ns/p"].clone().unwrap();
    assert_eq!(judged, 1);
    let known: HashSet<*const Form> = before.forms.iter().map(Arc::as_ptr).collect();
    assert_eq!(after.forms.iter().filter(|form| !known.contains(&Arc::as_ptr(form))).count(), 1);
    assert!(after.version > before.version);

    let json: Vec<_> = after.forms.iter().map(|form| &*form.json).collect();
    let joined = RuleSet::join_canonical_json(&json, &after.settings.development_hosts, &after.settings.teams);
    let rules: Vec<Rule> = after.forms.iter().map(|form| form.rule.clone()).collect();
    assert_eq!(joined, RuleSet::new(rules, ["lab-1".to_owned()], []).to_canonical_json());
    let claims: Vec<_> = after.forms.iter().map(|form| &form.claim).collect();
    assert_eq!(shadowed(&claims).iter().flatten().count(), 0);
    // Another's status is no change of the rule, and an event that is older than our own write counts for nothing.
    let mut restated = rule("ns/r77", &[], spec("changed"));
    restated.status.observed_generation = Some(7);
    index.apply_rule(restated.clone());
    let changes = index.changes();
    assert_eq!((changes.rules.len(), changes.restated.len(), changes.sets.len()), (0, 1, 0));
    index.set_status("ns/r77", &restated.uid, AlertRuleStatus::default(), 9);
    index.apply_rule(restated);
    assert_eq!(index.changes().restated.len(), 0);
    assert_eq!(index.rule("ns/r77").unwrap().object.status, AlertRuleStatus::default());
    // Seen again without a change: nothing to do.
    index.apply_rule(rule("ns/r77", &[], spec("changed")));
    let (judged, sets) = turn(&mut index);
    assert_eq!((judged, sets.len()), (0, 0));
}

#[test]
fn of_pipelines_with_the_same_keys_only_the_oldest_is_served_and_a_bad_selector_changes_nothing() {
    let mut index = Index::default();
    let on = |name: &str, second: i64, url: &str| {
        let mut object = pipeline(name, selector(&[("pipeline", "core")]), None);
        let created = k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
        let meta = ObjectMeta {
            uid: Some(object.uid.clone()),
            creation_timestamp: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(created)),
            ..ObjectMeta::default()
        };
        object.turn = Turn::of(&meta);
        let redis = mutt_crds::pipeline::RedisSpec { url: url.to_owned(), ..Default::default() };
        object.settings = Arc::new(PipelineSettings { redis, ..object.settings.as_ref().clone() });
        object
    };
    let withheld =
        |sets: &BTreeMap<String, Option<PipelineSet>>, name: &str| sets[name].as_ref().unwrap().withheld.clone();
    index.apply_rule(rule("ns/a", &[("pipeline", "core")], spec("x")));
    index.apply_pipeline(on("ns/b-younger", 20, "redis://Redis"));
    index.apply_pipeline(on("ns/a-older", 10, "redis://redis:6379/0"));
    let (_, sets) = turn(&mut index);
    assert_eq!(withheld(&sets, "ns/a-older"), None);
    assert!(withheld(&sets, "ns/b-younger").unwrap().contains("ns/a-older"));
    // The older one moves away and comes back.
    index.apply_pipeline(on("ns/a-older", 10, "redis://elsewhere"));
    assert_eq!(withheld(&turn(&mut index).1, "ns/b-younger"), None);
    index.apply_pipeline(on("ns/a-older", 10, "redis://redis"));
    assert!(withheld(&turn(&mut index).1, "ns/b-younger").is_some());
    index.delete_pipeline(&PipelineKey::new("ns", "a-older"));
    let (_, sets) = turn(&mut index);
    assert_eq!((withheld(&sets, "ns/b-younger"), served(&sets, "ns/b-younger")), (None, vec!["ns/a:x".to_owned()]));

    let bad = |name: &str, uid: &str| {
        let expression = json!({"matchExpressions": [{"key": "pipeline", "operator": "Equals", "values": ["core"]}]});
        let mut object = on(name, 20, "redis://redis");
        object.rule_selector = Some(serde_json::from_value(expression).unwrap());
        uid.clone_into(&mut object.uid);
        object
    };
    let uid = on("ns/b-younger", 20, "").uid;
    index.apply_pipeline(bad("ns/b-younger", &uid));
    let (_, sets) = turn(&mut index);
    assert_eq!((withheld(&sets, "ns/b-younger"), served(&sets, "ns/b-younger")), (None, vec!["ns/a:x".to_owned()]));
    let error = sets["ns/b-younger"].as_ref().unwrap().selector_error.clone().unwrap();
    assert!(error.starts_with("spec.ruleSelector"), "{error}");
    // Another object has no last good selector: nothing is published rather than an empty set.
    index.apply_pipeline(bad("ns/b-younger", "another"));
    assert_eq!(withheld(&turn(&mut index).1, "ns/b-younger"), Some(error));
}

#[test]
fn after_a_restore_of_etcd_versions_begin_again_below_and_still_count() {
    let mut index = Index::default();
    let seen = |version: u64, generation: i64, is_listed: bool| {
        let status = AlertRuleStatus { observed_generation: Some(generation), ..AlertRuleStatus::default() };
        RuleObject { status, version, is_listed, ..rule("ns/a", &[], spec("x")) }
    };
    let known = |index: &Index| index.rule("ns/a").unwrap().object.status.observed_generation;
    index.apply_rule(seen(900, 1, true));
    let status = AlertRuleStatus { observed_generation: Some(2), ..AlertRuleStatus::default() };
    index.set_status("ns/a", "uid of ns/a", status.clone(), 910);
    index.apply_rule(seen(905, 1, false));
    assert_eq!(known(&index), Some(2), "an event from before our write");
    index.apply_rule(seen(40, 1, true));
    assert_eq!(known(&index), Some(1), "the list is what there is");
    index.set_status("ns/a", "uid of ns/a", status, 41);
    index.apply_rule(seen(42, 3, false));
    assert_eq!(known(&index), Some(3));
}
