//! Files of AlertRules and MuttPipelines: what is read, and what is said about faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mutt_rules::{AlertSeverity, Expectation, Mode, Object, Rule, RuleSet, parse_documents, run_tests};

const CONTRACT: &str = r#"
apiVersion: mutt.dev/v1alpha1
kind: AlertRule
metadata: {name: bgp-neighbor-down, namespace: netops, labels: {pipeline: core}}
spec:
  description: BGP session lost
  priority: 100                 # lower wins; default 100
  enabled: true
  mode: Active                  # Active | Shadow (counted, not forwarded)
  match:                        # at least one of message, trapOid
    message: {contains: "BGP-5-ADJCHANGE"}     # or {regex: "neighbor .* Down"}
    trapOid: 1.3.6.1.2.1.15.7   # prefix, by whole arcs
    severity: {equals: 3}       # or {atMost: 3}
    hosts: ["core-*", "10.1.0.0/16"]
  handling: {production: Page_and_ticket, development: Ticket_only}
  severity: Warning             # of the alert; default Warning
  team: NETO
  tests:
  - event: {hostname: core-1, message: "%BGP-5-ADJCHANGE: neighbor 10.0.0.1 Down", syslog_severity: 3}
    expect: match               # match | no_match
---
apiVersion: mutt.dev/v1alpha1
kind: MuttPipeline
metadata: {name: core, namespace: netops}
spec:
  redis: {url: "redis://redis:6379", credentialsSecret: mutt-redis}
  ingestor: {apiKeySecret: mutt-ingest}
  ruleSelector: {matchLabels: {pipeline: core}}
  developmentHosts: [lab-1]
  teams: [{team: NETO, hosts: [core-1]}]
"#;

#[test]
fn the_files_of_the_contract_are_read() {
    let documents = parse_documents(CONTRACT, "contract.yaml").unwrap();
    let Object::AlertRule(rule) = &documents[0].object else { panic!("a rule first") };
    assert_eq!(rule.qualified_name(), "netops/bgp-neighbor-down");
    assert_eq!(rule.metadata.labels["pipeline"], "core");
    assert_eq!((rule.spec.mode, rule.spec.severity), (Mode::Active, AlertSeverity::Warning));
    assert_eq!(rule.spec.matches.trap_oid.as_deref(), Some("1.3.6.1.2.1.15.7"));
    assert_eq!(rule.spec.tests[0].expect, Expectation::Match);
    assert_eq!(run_tests(&rule.spec), []);
    assert!(documents[0].validate().is_empty());
    assert_eq!((documents[0].line, documents[1].line, documents[1].number), (2, 22, 2));
    assert_eq!(documents[0].position("spec.match.hosts[1]"), (14, 23));

    let set = RuleSet::from_documents(documents);
    assert_eq!(set.rules()[0].name, "netops/bgp-neighbor-down");
    assert!(set.development_hosts().contains("lab-1"));
    assert_eq!(set.teams()["core-1"], "NETO");
}

#[test]
fn defaults_hold_and_what_is_written_reads_back() {
    let text = "apiVersion: mutt.dev/v1alpha1\nkind: AlertRule\nmetadata: {name: a}\nspec:\n  match: {message: {regex: 'a b'}}\n  handling: {production: Ignore, development: Ignore}\n  team: X\n";
    let documents = parse_documents(text, "-").unwrap();
    let Object::AlertRule(rule) = &documents[0].object else { panic!("a rule") };
    assert_eq!((rule.spec.priority, rule.spec.enabled, rule.spec.mode), (100, true, Mode::Active));
    assert_eq!(rule.qualified_name(), "default/a");
    let yaml = serde_saphyr::to_string(rule).unwrap();
    assert_eq!(parse_documents(&yaml, "-").unwrap()[0].object, documents[0].object);
    let json = serde_json::to_string_pretty(rule).unwrap();
    assert_eq!(parse_documents(&json, "-").unwrap()[0].object, documents[0].object);
}

#[test]
fn lists_and_objects_from_a_cluster_are_read() {
    let rule = serde_json::json!({
        "apiVersion": "mutt.dev/v1alpha1", "kind": "AlertRule",
        "metadata": {"name": "a", "namespace": "n", "uid": "1", "annotations": {"x": "y"}},
        "spec": {"match": {"trapOid": "1.3"}, "handling": {"production": "a", "development": "b"}, "team": "X"},
        "status": {"conditions": []},
    });
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [rule, rule]});
    assert_eq!(parse_documents(&list.to_string(), "-").unwrap().len(), 2);
    let array = serde_json::json!([rule]);
    assert_eq!(parse_documents(&array.to_string(), "-").unwrap().len(), 1);
    for empty in ["", "---\n", "# nothing\n---\n...\n", "\u{feff}"] {
        assert_eq!(parse_documents(empty, "-").unwrap(), [], "{empty:?}");
    }
}

#[test]
fn large_and_hostile_files_end() {
    let rule = |number: usize| {
        format!(
            "{{\"apiVersion\": \"mutt.dev/v1alpha1\", \"kind\": \"AlertRule\", \"metadata\": {{\"name\": \"r{number}\"}}, \"spec\": \
         {{\"match\": {{\"message\": {{\"contains\": \"x\"}}}}, \"handling\": {{\"production\": \"a\", \"development\": \"b\"}}, \"team\": \"T\"}}}}"
        )
    };
    let list: Vec<String> = (0..5_000).map(rule).collect();
    let list = format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}]}}", list.join(","));
    assert_eq!(parse_documents(&list, "-").unwrap().len(), 5_000);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d]\n";
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(5_000),
        "- ".repeat(5_000),
        bomb.to_owned(),
        "\0".to_owned(),
        "a: \u{1}".to_owned(),
    ] {
        assert!(parse_documents(&text, "-").is_err());
    }
}

#[test]
fn all_faults_are_told_at_once_with_their_places() {
    let text = r"apiVersion: mutt.dev/v1alpha1
kind: AlertRule
metadata: {name: Upper Case}
spec:
  match: {message: {contains: x}}
  handling: {production: a, development: b}
  team: X
---
apiVersion: mutt.dev/v1alpha1
kind: AlertRule
metadata: {name: a}
spec:
  prioritty: 3
  enabled: maybe
  mode: Shadowed
  match:
    message: {contains: 12}
    trapOid: 1.3
    wrong: 1
    severity: {equals: high}
  handling: {production: a}
  tests:
  - event: {message: x, hostnam: y}
    expect: perhaps
---
a: [1
---
apiVersion: v2
kind: Rule
---
- 3
---
apiVersion: mutt.dev/v1alpha1
kind: AlertRule
metadata: {name: good}
spec: {match: {message: {contains: x}}, handling: {production: a, development: b}, team: X}
";
    let errors = parse_documents(text, "f.yaml").unwrap_err();
    let seen: Vec<(usize, usize, &str)> =
        errors.errors.iter().map(|e| (e.document, e.line, e.field.as_str())).collect();
    println!("{errors}");
    assert_eq!(errors.good.len(), 1);
    let expected = [
        (1, 3, "metadata.name"),
        (2, 13, "spec.prioritty"),
        (2, 14, "spec.enabled"),
        (2, 15, "spec.mode"),
        (2, 17, "spec.match.message.contains"),
        (2, 18, "spec.match.trapOid"),
        (2, 19, "spec.match.wrong"),
        (2, 20, "spec.match.severity.equals"),
        (2, 21, "spec.handling"),
        (2, 12, "spec"),
        (2, 23, "spec.tests[0].event.hostnam"),
        (2, 24, "spec.tests[0].expect"),
        (4, 28, "apiVersion"),
        (4, 29, "kind"),
        (5, 31, ""),
    ];
    for place in expected {
        assert!(seen.contains(&place), "{place:?} is missing in {seen:#?}");
    }
    assert_eq!(seen.iter().filter(|(document, ..)| *document == 3).count(), 1);
    assert_eq!(seen.len(), expected.len() + 1, "{seen:#?}");
    let text = errors.to_string();
    for part in [
        "f.yaml:13:3: document 2, field spec.prioritty: unknown field `prioritty`; did you mean `priority`?",
        "put it in quotes",
        "field `team` is missing; add it",
        "field `development` is missing; add it",
        "is `Rule`; known: AlertRule, MuttPipeline",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn what_a_rule_says_is_checked_apart_and_at_its_place() {
    let text = r#"apiVersion: mutt.dev/v1alpha1
kind: AlertRule
metadata: {name: a}
spec:
  match:
    message: {regex: "a("}
    trapOid: iso.3
    severity: {equals: 9, atMost: 1}
    hosts: [ok, "10.0.0.0/99", "[x"]
  handling: {production: a, development: b}
  team: ""
"#;
    let documents = parse_documents(text, "f").unwrap();
    let found: Vec<String> = documents[0].validate().iter().map(ToString::to_string).collect();
    let expected = [
        "f:11:3: document 1, field spec.team: is empty",
        "f:7:5: document 1, field spec.match.trapOid: `iso.3`",
        "f:8:5: document 1, field spec.match.severity: needs exactly one",
        "f:8:16: document 1, field spec.match.severity.equals: is 9",
        "f:9:17: document 1, field spec.match.hosts[1]: ",
        "f:9:32: document 1, field spec.match.hosts[2]: ",
        "f:6:15: document 1, field spec.match.message.regex: is no regular expression: unclosed group (character 2, `(`)",
    ];
    for part in expected {
        assert!(found.iter().any(|line| line.starts_with(part)), "{part} is missing in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn the_canonical_document_does_not_depend_on_the_order_of_files() {
    let documents = parse_documents(CONTRACT, "-").unwrap();
    let mut rules: Vec<Rule> = RuleSet::from_documents(documents).rules().to_vec();
    let mut add = |id, name: &str, priority| {
        let mut rule = Rule { id, name: name.to_owned(), ..rules[0].clone() };
        rule.spec.priority = priority;
        rules.push(rule);
    };
    add(Some(7), "7", 100);
    add(Some(10), "10", 100);
    add(None, "net/b", 100);
    add(None, "net-a/a", 100);
    add(Some(99), "99", -1);
    let set = RuleSet::new(rules.clone(), ["b".to_owned(), "a".to_owned()], [("h".to_owned(), "T".to_owned())]);
    let order: Vec<&str> = set.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(order, ["99", "7", "10", "net/b", "net-a/a", "netops/bgp-neighbor-down"]);
    rules.reverse();
    let other = RuleSet::new(rules, ["a".to_owned(), "b".to_owned()], [("h".to_owned(), "T".to_owned())]);
    assert_eq!(set.revision(), other.revision());
    assert_eq!(RuleSet::from_json(&set.to_canonical_json()).unwrap(), set);
    assert_eq!(set.revision().as_str().len(), 64);
    assert_ne!(set.revision(), RuleSet::default().revision());
    assert!(RuleSet::from_json("{\"rules\":[],\"unknown\":1}").is_err());
}
