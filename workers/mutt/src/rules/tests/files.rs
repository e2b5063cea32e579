//! Reading, testing and linting files.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::plan::{Existing, ExistingRule, Plan, TeamChange};
use super::super::row::RuleColumns;
use super::super::sources::Sources;
use super::super::trial::decide;
use super::{FILE, sources};

#[test]
fn all_faults_of_all_documents_are_reported_at_once() {
    let text = FILE
        .replace("team: NETO\n  tests", "team: ''\n  tests")
        .replace("syslog_severity: 3}\n    expect: no_match", "syslog_severity: 3}\n    expect: match")
        .replace("trapOid: 1.3.6.1.6.3.1.1.5.3", "trapOid: linkDown")
        .replace("{team: SRE, hosts: [web-1]}", "{team: SRE, hosts: [web-1, core-1]}");
    let problems = Sources::from_text(&(text.clone() + "---\n" + &text)).problems;
    let fields: BTreeSet<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    let expected = ["metadata.name", "spec.match.trapOid", "spec.team", "spec.teams"];
    assert_eq!(fields, BTreeSet::from(expected), "{problems:#?}");
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(texts.iter().all(|text| text.starts_with("test.yaml:")), "{texts:#?}");
}

#[test]
fn a_rule_that_fails_its_own_test_is_a_fault() {
    let text = FILE.replace("expect: no_match", "expect: match");
    let problems = Sources::from_text(&text).problems;
    assert_eq!((problems.len(), problems[0].field.as_str(), problems[0].is_failed_test), (1, "spec.tests[1]", true));
    assert!(problems[0].line > 10, "{problems:?}");
}

#[test]
fn a_nul_byte_is_a_fault_since_postgresql_cannot_store_it() {
    let problems = Sources::from_text(&FILE.replace("team: \"yes\"", "team: \"a\\0b\"")).problems;
    assert!(problems.iter().any(|problem| problem.message.contains("NUL")), "{problems:?}");
}

#[test]
fn nothing_at_all_is_a_fault_and_a_missing_file_is_named() {
    assert_eq!(Sources::from_text("").problems.len(), 1);
    let sources = Sources::read(&["/nonexistent/rules.yaml".into()]);
    assert!(sources.problems[0].to_string().starts_with("/nonexistent/rules.yaml: cannot read"));
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join(".hidden.yaml"), "x: [").unwrap();
    std::fs::write(empty.path().join("notes.txt"), "x").unwrap();
    assert_eq!(Sources::read(&[empty.path().to_owned()]).problems.len(), 1);
    std::fs::write(empty.path().join("a.yml"), FILE).unwrap();
    let sources = Sources::read(&[empty.path().to_owned()]);
    assert_eq!((sources.problems.len(), sources.rules.len()), (0, 2));
}

fn verdict(event: &Value) -> Vec<String> {
    decide(&sources(FILE), event.as_object().unwrap()).unwrap().lines()
}

#[test]
fn an_event_is_told_which_rule_takes_it_and_why() {
    let event = json!({"hostname": "core-1", "message": "neighbor 10.0.0.1 is Down", "severity": "err"});
    assert_eq!(
        verdict(&event),
        [
            "netops/bgp takes the event: Page_and_ticket (production host), forwarded as Critical to team NETO",
            "  yes message matches /neighbor (\\S+) .*Down/ (event: 'neighbor 10.0.0.1 is Down')",
            "  yes severity is at most 3 (event: 3)",
            "  yes host is one of core-*, 10.1.0.0/16 (event: core-1)",
        ]
    );
    let event = json!({"hostname": "lab-1", "message": "LINK: 'UP' \"down\" #1", "trap_oid": "1.3.6.1.6.3.1.1.5.3"});
    let lines = verdict(&event);
    assert_eq!(lines[0], "default/link takes the event: Log_only (development host), audited only");
    assert_eq!(lines[2], "  yes trap OID below 1.3.6.1.6.3.1.1.5.3 (event: 1.3.6.1.6.3.1.1.5.3)");
}

#[test]
fn an_event_that_no_rule_takes_is_told_what_the_rules_miss() {
    let lines = verdict(&json!({"hostname": "edge-9", "message": "neighbor x Down", "syslog_severity": 5}));
    assert_eq!(lines[0], "no rule takes the event: it is audited as unhandled");
    assert_eq!(lines[1], "  netops/bgp:");
    assert!(lines[2].starts_with("    yes message matches"), "{lines:#?}");
    assert_eq!(lines[3], "    no  severity is at most 3 (event: 5)");
    assert!(lines[4].starts_with("    no  host is one of"), "{lines:#?}");
    assert_eq!(lines[5], "  default/link:");
    assert!(lines[6].starts_with("    no  message contains"), "{lines:#?}");
    let lines = verdict(&json!({"message": "only a message"}));
    assert!(lines[0].starts_with("no rule"));
    assert!(decide(&sources(FILE), json!({"message": 5}).as_object().unwrap()).is_err());
}

fn held(id: i32, columns: RuleColumns) -> ExistingRule {
    let raw = columns.audit_value().unwrap();
    ExistingRule { id, name: columns.name.clone(), columns: Some(columns), raw }
}

#[test]
fn a_plan_changes_what_differs_and_nothing_else() {
    let sources = sources(FILE);
    let rows: Vec<RuleColumns> = sources.rules.iter().map(RuleColumns::from_alert_rule).collect();
    let mut existing = Existing::default();
    let plan = Plan::new(&existing, &sources, true);
    assert_eq!((plan.create.len(), plan.hosts_added.len(), plan.teams.len(), plan.changes()), (2, 2, 3, 7));

    existing.rules.push(held(1, rows[0].clone()));
    existing.rules.push(held(2, RuleColumns { priority: 1, ..rows[1].clone() }));
    existing.rules.push(held(3, RuleColumns { name: Some("old".into()), ..rows[1].clone() }));
    existing.rules.push(held(4, RuleColumns { name: None, ..rows[1].clone() }));
    existing.hosts = BTreeSet::from(["lab-1".into(), "lab-9".into()]);
    existing.teams.insert("core-1".into(), "OTHER".into());
    existing.teams.insert("gone".into(), "NETO".into());
    let plan = Plan::new(&existing, &sources, false);
    assert_eq!((plan.create.len(), plan.unchanged.len(), plan.delete.len()), (0, 1, 0));
    assert_eq!((plan.update.len(), plan.update[0].id, plan.update[0].fields()), (1, 2, vec!["priority".to_owned()]));
    assert_eq!((&plan.hosts_added[..], &plan.hosts_removed[..]), (&["007".to_owned()][..], &[][..]));
    assert_eq!(plan.teams.len(), 3);

    let plan = Plan::new(&existing, &sources, true);
    assert_eq!((&plan.delete[..], &plan.unnamed[..]), (&[(3, "old".to_owned())][..], &[4][..]));
    assert_eq!(plan.hosts_removed, ["lab-9"]);
    let removed = TeamChange { host: "gone".into(), old: Some("NETO".into()), new: None };
    assert!(plan.teams.contains(&removed));
}

#[test]
fn without_a_pipeline_hosts_and_teams_stay() {
    let only_rules = FILE.rsplit_once("---").unwrap().0;
    let existing = Existing { hosts: BTreeSet::from(["lab-9".into()]), ..Existing::default() };
    let plan = Plan::new(&existing, &sources(only_rules), true);
    assert_eq!((plan.hosts_removed.len(), plan.teams.len(), plan.create.len()), (0, 0, 2));
}

#[test]
fn the_exports_name_of_a_nameless_rule_is_that_rule() {
    let sources = sources(&FILE.replace("name: link", "name: rule-4"));
    let row = RuleColumns { name: None, ..RuleColumns::from_alert_rule(&sources.rules[1]) };
    let existing = Existing { rules: vec![held(4, row)], ..Existing::default() };
    let plan = Plan::new(&existing, &sources, true);
    assert_eq!((plan.unchanged, plan.create.len(), plan.unnamed.len()), (vec!["rule-4".to_owned()], 1, 0));
}
