//! Tables of good and bad rules.

#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn base() -> Value {
    json!({"match_string": "LINK-3-UPDOWN", "prod_handling": "Page_and_ticket", "dev_handling": "Ignore",
           "team_assignment": "NETO"})
}

fn with(change: Value) -> Fields {
    let mut body = base();
    if let (Some(body), Value::Object(change)) = (body.as_object_mut(), change) {
        body.extend(change);
    }
    match body {
        Value::Object(map) => Fields(map),
        _ => Fields::default(),
    }
}

#[test]
fn what_a_client_of_2_x_sends_is_taken() {
    let rule = create(with(json!({}))).unwrap().rule;
    assert_eq!((rule.priority, rule.is_active, rule.match_type), (100, true, MatchType::Contains));
    assert_eq!(rule.extras, Extras::default());
    for change in [
        json!({"syslog_severity": 0}),
        json!({"syslog_severity": null, "trap_oid": null}),
        json!({"trap_oid": ""}),
        json!({"match_string": "", "trap_oid": ".1.3.6.1.4.1.9.9.41.2.*", "match_type": "oid_prefix"}),
        json!({"match_string": null, "trap_oid": "1.3.6.1"}),
        json!({"match_type": "regex", "match_string": "neighbor \\S+ (Up|Down)"}),
        json!({"match_string": "дверь открыта — ТРЕВОГА"}),
        json!({"match_string": "'; DROP TABLE alert_rules; --"}),
        json!({"priority": -5}),
        json!({"prod_handling": "whatever we like"}),
        json!({"reason": "asked by NOC"}),
    ] {
        let input = create(with(change.clone()));
        assert!(input.is_ok(), "{change}: {:?}", input.err());
        assert_eq!(input.unwrap().warnings, Vec::<String>::new(), "{change}");
    }
}

#[test]
fn the_wrong_field_is_named() {
    for (change, field) in [
        (json!({"match_type": "glob"}), "match_type"),
        (json!({"match_type": null}), "match_type"),
        (json!({"match_type": 1}), "match_type"),
        (json!({"match_string": 7}), "match_string"),
        (json!({"match_string": null}), "match_string"),
        (json!({"match_string": ""}), "match_string"),
        (json!({"match_string": "a\u{0}b"}), "match_string"),
        (json!({"trap_oid": ["1.3"]}), "trap_oid"),
        (json!({"match_type": "oid_prefix"}), "trap_oid"),
        (json!({"match_type": "regex", "match_string": null, "trap_oid": "1.3"}), "match_string"),
        (json!({"syslog_severity": 8}), "syslog_severity"),
        (json!({"syslog_severity": "3"}), "syslog_severity"),
        (json!({"syslog_severity": 2.5}), "syslog_severity"),
        (json!({"priority": 2_147_483_648_u64}), "priority"),
        (json!({"priority": null}), "priority"),
        (json!({"prod_handling": ""}), "prod_handling"),
        (json!({"prod_handling": "x".repeat(101)}), "prod_handling"),
        (json!({"dev_handling": null}), "dev_handling"),
        (json!({"team_assignment": 1}), "team_assignment"),
        (json!({"is_active": "true"}), "is_active"),
        (json!({"is_active": null}), "is_active"),
        (json!({"name": "Has Spaces"}), "name"),
        (json!({"name": "17"}), "name"),
        (json!({"name": "a/b/c"}), "name"),
        (json!({"hosts": "core-1"}), "hosts"),
        (json!({"hosts": ["a\u{0}"]}), "hosts"),
        (json!({"atMost": 9}), "atMost"),
        (json!({"severity": "Terrible"}), "severity"),
        (json!({"mode": "Sleeping"}), "mode"),
        (json!({"tests": [{"event": {}}]}), "tests"),
        (json!({"labels": {"a": 1}}), "labels"),
        (json!({"description": 1}), "description"),
        (json!({"reason": 1}), "reason"),
    ] {
        match create(with(change.clone())).unwrap_err() {
            ApiError::Field { field: named, .. } => assert_eq!(named, field, "{change}"),
            other => assert_eq!(other.to_string(), field, "{change}"),
        }
    }
    for missing in ["prod_handling", "dev_handling", "team_assignment"] {
        let mut fields = with(json!({}));
        fields.0.remove(missing);
        assert_eq!(create(fields).unwrap_err().to_string(), format!("{missing}: is required"));
    }
}

#[test]
fn a_rule_as_a_whole_is_checked_by_the_rules_crate() {
    for (change, field) in [
        (json!({"match_type": "regex", "match_string": "neighbor (Down"}), "match_string"),
        (json!({"match_string": "x".repeat(5_000)}), "match_string"),
        (json!({"trap_oid": "enterprises.9"}), "trap_oid"),
        (json!({"hosts": ["10.0.0.0/99"]}), "hosts"),
        (json!({"syslog_severity": 3, "atMost": 3}), "atMost"),
        (json!({"tests": [{"event": {"message": "other"}, "expect": "match"}]}), "tests[0]"),
    ] {
        match create(with(change.clone())).unwrap_err() {
            ApiError::Field { field: named, .. } => assert!(named.starts_with(field), "{change}: {named}"),
            other => assert_eq!(other.to_string(), field, "{change}"),
        }
    }
}

#[test]
fn unknown_fields_are_remarked_and_read_only_ones_are_not() {
    let input = create(with(json!({"priorty": 5, "id": 3}))).unwrap();
    assert_eq!(input.warnings, ["priorty: unknown field, ignored"]);
    let input = create(with(json!({"match_type": "oid_prefix", "trap_oid": "1.3"}))).unwrap();
    assert_eq!(input.warnings, ["match_string: does not count with match_type oid_prefix"]);
}

#[test]
fn an_update_changes_what_it_names() {
    let old = create(with(json!({"hosts": ["core-*"], "syslog_severity": 3}))).unwrap().rule;
    let one = |change: Value| update(Fields(change.as_object().cloned().unwrap_or_default()), &old);
    let new = one(json!({"priority": 1})).unwrap().rule;
    assert_eq!(new, RuleColumns { priority: 1, ..old.clone() });
    let new = one(json!({"syslog_severity": null, "hosts": null})).unwrap().rule;
    assert_eq!((new.syslog_severity, new.extras.hosts.len()), (None, 0));
    assert!(one(json!({"match_string": null})).is_err());
}

#[test]
fn a_broken_rule_can_be_switched_off_but_not_on() {
    let mut old = create(with(json!({}))).unwrap().rule;
    old.match_type = MatchType::Regex;
    old.match_string = Some("(".into());
    let one = |old: &RuleColumns, change: Value| update(Fields(change.as_object().cloned().unwrap_or_default()), old);
    let off = one(&old, json!({"is_active": false})).unwrap().rule;
    assert!(one(&off, json!({"is_active": true})).is_err());
    assert!(one(&off, json!({"match_string": "[", "is_active": false})).is_err());
    assert!(one(&off, json!({"match_string": "x", "is_active": true})).is_ok());
}
