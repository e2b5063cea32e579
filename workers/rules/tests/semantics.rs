//! Tables of the contract: severities, OIDs, hosts, handling, bad rules, lints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mutt_rules::{
    AlertRuleSpec, Claim, Compiled, Decision, Event, IssueCode, LintCode, Mode, Rule, RuleSet, Scratch, examine, lint,
    parse_documents, run_tests, shadowed, validate,
};

/// A rule from the `match` part of its YAML.
fn spec(matches: &str) -> AlertRuleSpec {
    let yaml = format!(
        "{{match: {matches}, handling: {{production: Page_and_ticket, development: Log_only}}, severity: Critical, team: NETO}}"
    );
    serde_saphyr::from_str(&yaml).unwrap()
}

fn rule(name: &str, matches: &str) -> Rule {
    Rule { id: None, name: format!("ns/{name}"), spec: spec(matches) }
}

fn compile(rules: Vec<Rule>) -> Compiled {
    Compiled::build(&RuleSet::new(rules, ["lab-1".to_owned()], []), None)
}

fn takes(matches: &str, event: &Event<'_>) -> bool {
    let compiled = compile(vec![rule("a", matches)]);
    assert_eq!(compiled.errors(), [], "{matches}");
    compiled.decide(event, &mut Scratch::default()).is_handled()
}

fn message(message: &str) -> Event<'_> {
    Event { hostname: "core-1", message, ..Event::default() }
}

#[test]
fn severities_are_required_on_syslog_and_optional_on_traps() {
    let event = |severity: Option<i64>, trap_oid| Event { syslog_severity: severity, trap_oid, ..message("x") };
    let table = [
        ("{equals: 3}", Some(3), None, true),
        ("{equals: 3}", Some(2), None, false),
        ("{equals: 0}", Some(0), None, true),
        ("{equals: 0}", None, None, false),
        ("{atMost: 3}", Some(3), None, true),
        ("{atMost: 3}", Some(0), None, true),
        ("{atMost: 3}", Some(4), None, false),
        ("{atMost: 7}", None, None, false),
        ("{equals: 3}", None, Some("1.3"), true),
        ("{equals: 3}", Some(4), Some("1.3"), false),
        ("{equals: 3}", None, Some(""), false),
    ];
    for (criterion, severity, oid, expected) in table {
        let matches = format!("{{message: {{contains: x}}, severity: {criterion}}}");
        assert_eq!(takes(&matches, &event(severity, oid)), expected, "{criterion} {severity:?} {oid:?}");
    }
}

#[test]
fn oid_and_message_meet_as_the_contract_says() {
    let both = "{message: {contains: down}, trapOid: 1.3.6.1.4.1.9.9.41.2}";
    let oid_only = "{trapOid: .1.3.6.1.4.1.9.9.41.2.*}";
    let message_only = "{message: {contains: down}}";
    let table = [
        (both, "is down", Some("1.3.6.1.4.1.9.9.41.2.0.1"), true),
        (both, "is up", Some("1.3.6.1.4.1.9.9.41.2.0.1"), false),
        (both, "is down", Some("1.3.6.1.4.1.9.9.41.20"), false),
        (both, "is down", None, true),
        (oid_only, "", Some(".1.3.6.1.4.1.9.9.41.2"), true),
        (oid_only, "", Some("1.3.6.1.4.1.9.9.41.20"), false),
        (oid_only, "1.3.6.1.4.1.9.9.41.2", None, false),
        (message_only, "is down", Some("1.3"), true),
        (message_only, "is DOWN", None, true),
    ];
    for (matches, text, trap_oid, expected) in table {
        assert_eq!(takes(matches, &Event { trap_oid, ..message(text) }), expected, "{matches} {text} {trap_oid:?}");
    }
}

#[test]
fn hosts_are_names_globs_and_networks() {
    let table = [
        ("core-1", "core-1", None, true),
        ("core-1", "CORE-1", None, true),
        ("core-1", "core-10", None, false),
        ("core-*", "core-10", None, true),
        ("core-*", "edge-1", None, false),
        ("core-?", "core-10", None, false),
        ("{core,edge}-[0-3]", "edge-2", None, true),
        ("10.1.0.0/16", "x", Some("10.1.2.3"), true),
        ("10.1.0.0/16", "x", Some("10.2.2.3"), false),
        ("10.1.0.0/16", "10.1.2.3", None, true),
        ("10.1.0.0/16", "10.1.2.3", Some("10.2.0.1"), false),
        ("10.1.2.3", "x", Some("10.1.2.3"), true),
        ("10.1.0.0/16", "x", Some("::ffff:10.1.2.3"), true),
        ("10.1.0.0/16", "x", Some("nonsense"), false),
        ("2001:db8::/32", "x", Some("2001:db8::1"), true),
        ("10.1.9.9/16", "x", Some("10.1.2.3"), true),
    ];
    for (host, hostname, source_ip, expected) in table {
        let matches = format!("{{message: {{contains: x}}, hosts: [never, \"{host}\"]}}");
        let event = Event { hostname, source_ip, ..message("x") };
        assert_eq!(takes(&matches, &event), expected, "{host} {hostname} {source_ip:?}");
    }
}

#[test]
fn contains_is_literal_and_regex_is_not() {
    let table = [
        ("{contains: 'a.b'}", "axb", false),
        ("{contains: 'a.b'}", "xA.By", true),
        ("{contains: ' a '}", "x a ", true),
        ("{contains: ' a '}", "xa ", false),
        ("{contains: '(?i)x'}", "(?I)X", true),
        ("{regex: '^a.b$'}", "AxB", true),
        ("{regex: '^b'}", "a\nb", false),
        ("{regex: 'a.b'}", "a\nb", false),
        ("{regex: 'straße'}", "STRAẞE", true),
        ("{contains: 'straße'}", "STRASSE", false),
        ("{contains: kelvin}", "\u{212a}ELVIN", true),
        ("{regex: kelvin}", "\u{212a}ELVIN", true),
        ("{contains: i}", "İ", false),
        ("{regex: 'bgp(?! up)'}", "BGP down", true),
        ("{regex: 'bgp(?! up)'}", "BGP UP", false),
        (r"{regex: '(\w+) \1'}", "link Link", true),
    ];
    for (criterion, text, expected) in table {
        assert_eq!(takes(&format!("{{message: {criterion}}}"), &message(text)), expected, "{criterion} over {text}");
    }
}

#[test]
fn handling_follows_the_kind_of_host_and_keeps_its_word() {
    let mut ticket = rule("b", "{message: {contains: ticket}}");
    ticket.spec.handling.production = "TICKET_ONLY".to_owned();
    let compiled = compile(vec![rule("a", "{message: {contains: page}}"), ticket]);
    let mut scratch = Scratch::default();
    let mut decide = |hostname, text| match compiled.decide(&Event { hostname, ..message(text) }, &mut scratch) {
        Decision::Handled(handled) => {
            Some((handled.rule.name.as_str(), handled.handling, handled.forward, handled.development, handled.team))
        }
        Decision::Unhandled => None,
    };
    assert_eq!(decide("core-1", "a page"), Some(("ns/a", "Page_and_ticket", true, false, "NETO")));
    assert_eq!(decide("lab-1", "a page"), Some(("ns/a", "Log_only", false, true, "NETO")));
    assert_eq!(decide("LAB-1", "a page"), Some(("ns/a", "Page_and_ticket", true, false, "NETO")));
    assert_eq!(decide("core-1", "a ticket"), Some(("ns/b", "TICKET_ONLY", true, false, "NETO")));
    assert_eq!(decide("core-1", "a page and a ticket"), Some(("ns/a", "Page_and_ticket", true, false, "NETO")));
    assert_eq!(decide("core-1", "nothing"), None);
}

#[test]
fn one_bad_rule_is_named_and_leaves_the_others_alone() {
    let good = || vec![rule("a", "{message: {contains: alpha}}"), rule("c", "{message: {regex: 'gam+a'}}")];
    let mut rules = good();
    rules.push(rule("b", "{message: {regex: 'beta('}}"));
    let compiled = compile(rules);
    let [error] = compiled.errors() else { panic!("{:?}", compiled.errors()) };
    assert_eq!((error.rule.as_str(), error.last_good_in_use), ("ns/b", false));
    assert!(error.reason.contains("unclosed group (character 5, `(`)"), "{}", error.reason);
    let mut scratch = Scratch::default();
    let mut name = |compiled: &Compiled, text| {
        compiled.decide(&message(text), &mut scratch).handled().map(|handled| handled.rule.name.clone())
    };
    assert_eq!(name(&compiled, "alpha").as_deref(), Some("ns/a"));
    assert_eq!(name(&compiled, "gamma").as_deref(), Some("ns/c"));

    // Good, then bad: the good form stays, with the priority it had.
    let mut early = rule("b", "{message: {regex: 'beta'}}");
    early.spec.priority = 1;
    let mut first = good();
    first.push(early.clone());
    let first = compile(first);
    let mut bad = rule("b", "{message: {regex: 'beta('}}");
    bad.spec.priority = 500;
    let mut second = good();
    second.push(bad);
    let second = Compiled::build(&RuleSet::new(second, [], []), Some(&first));
    assert!(second.errors()[0].last_good_in_use);
    assert_eq!(name(&second, "alpha beta").as_deref(), Some("ns/b"));
    assert!(std::sync::Arc::ptr_eq(&first.rules()[1], &second.rules()[1]), "unchanged rules keep their form");
    // Still bad in the next set, then gone.
    let third = Compiled::build(&RuleSet::new(vec![rule("b", "{message: {regex: 'beta('}}")], [], []), Some(&second));
    assert_eq!(name(&third, "beta").as_deref(), Some("ns/b"));
    let fourth = Compiled::build(&RuleSet::default(), Some(&third));
    assert_eq!(name(&fourth, "beta"), None);
}

#[test]
fn two_rules_of_one_name_are_an_error_of_the_second() {
    let compiled = compile(vec![rule("a", "{message: {contains: x}}"), rule("a", "{message: {contains: y}}")]);
    assert_eq!((compiled.rules().len(), compiled.errors().len()), (1, 1));
    assert!(compiled.errors()[0].reason.contains("same namespace and name"));
}

#[test]
fn shadow_rules_are_told_and_decide_nothing() {
    let mut shadow = rule("a", "{message: {contains: x}}");
    shadow.spec.mode = Mode::Shadow;
    let mut late = rule("z", "{message: {contains: x}}");
    late.spec.mode = Mode::Shadow;
    let compiled = compile(vec![shadow, rule("b", "{message: {regex: 'x|y'}}"), late]);
    let mut scratch = Scratch::default();
    assert_eq!(compiled.decide(&message("x"), &mut scratch).handled().unwrap().rule.name, "ns/b");
    assert_eq!(scratch.shadows(), [0]);
    assert!(compiled.decide(&message("y"), &mut scratch).is_handled());
    assert!(scratch.shadows().is_empty());
}

#[test]
fn catastrophic_patterns_end_and_suspend_their_rule() {
    let bad = rule("a", r"{message: {regex: '(?=x)(x+x+)+y\1'}}");
    let compiled = compile(vec![bad, rule("b", "{message: {contains: xxx}}")]);
    let text = "x".repeat(60);
    let mut scratch = Scratch::default();
    scratch.set_now(1_000);
    for _ in 0..100 {
        assert_eq!(compiled.decide(&message(&text), &mut scratch).handled().unwrap().rule.name, "ns/b");
    }
    assert_eq!(compiled.step_limit_hits(), 100);
    assert_eq!(compiled.suspended(1_000), ["ns/a"]);
    assert!(compiled.decide(&message(&text), &mut scratch).is_handled());
    assert_eq!(compiled.step_limit_hits(), 100, "a suspended rule is not tried");
    assert_eq!(compiled.suspended(2_000), Vec::<&str>::new());
}

#[test]
fn huge_messages_and_large_regexes_end() {
    let compiled = compile(vec![
        rule("a", "{message: {regex: '(a+)+b$'}}"),
        rule("b", r"{message: {regex: '([0-9]{1,40}[a-z]){1,40}!'}}"),
        rule("c", r"{message: {regex: '\bneedle\b.*ä'}}"),
        rule("d", "{message: {contains: haystack}}"),
    ]);
    assert_eq!(compiled.errors(), []);
    let mut scratch = Scratch::default();
    let mut name =
        |text: &str| compiled.decide(&message(text), &mut scratch).handled().map(|handled| handled.rule.name.clone());
    assert_eq!(name(&"a".repeat(1 << 20)), None);
    assert_eq!(name(&format!("{}b", "a".repeat(1 << 20))).as_deref(), Some("ns/a"));
    assert_eq!(name(&format!("{} haystack", "1234567a".repeat(1 << 15))).as_deref(), Some("ns/d"));
    assert_eq!(name(&format!("{}1a2b!", "-".repeat(1 << 18))).as_deref(), Some("ns/b"));
    assert_eq!(name(&format!("{} needle ä", "é".repeat(1 << 18))).as_deref(), Some("ns/c"));
    assert_eq!(name(""), None);
}

#[test]
fn faults_are_named_with_their_field() {
    let table = [
        ("{}", IssueCode::NoCriterion, "match"),
        ("{message: {}}", IssueCode::NotExactlyOne, "match.message"),
        ("{message: {contains: a, regex: b}}", IssueCode::NotExactlyOne, "match.message"),
        ("{message: {contains: ''}}", IssueCode::Empty, "match.message.contains"),
        ("{message: {regex: ''}}", IssueCode::Empty, "match.message.regex"),
        ("{message: {regex: '[z-a]'}}", IssueCode::Regex, "match.message.regex"),
        ("{message: {regex: '(?=a'}}", IssueCode::Regex, "match.message.regex"),
        (r"{message: {regex: '\w{900}\w{900}'}}", IssueCode::RegexTooLarge, "match.message.regex"),
        ("{trapOid: ''}", IssueCode::Oid, "match.trapOid"),
        ("{trapOid: 1..3}", IssueCode::Oid, "match.trapOid"),
        ("{trapOid: '1.3', severity: {}}", IssueCode::NotExactlyOne, "match.severity"),
        ("{trapOid: '1.3', severity: {equals: 8}}", IssueCode::OutOfRange, "match.severity.equals"),
        ("{trapOid: '1.3', severity: {atMost: -1}}", IssueCode::OutOfRange, "match.severity.atMost"),
        ("{trapOid: '1.3', hosts: ['a b']}", IssueCode::Host, "match.hosts[0]"),
        ("{trapOid: '1.3', hosts: [a, '10.0.0.0/33']}", IssueCode::Host, "match.hosts[1]"),
    ];
    for (matches, code, field) in table {
        let issues = validate(&spec(matches));
        assert!(issues.iter().any(|issue| issue.code == code && issue.field == field), "{matches}: {issues:?}");
        assert_eq!(compile(vec![rule("a", matches)]).errors().len(), 1, "{matches}: compiling agrees");
    }
    let mut long = spec("{message: {contains: x}}");
    long.matches.message.as_mut().unwrap().contains = Some("x".repeat(5000));
    long.team = "t".repeat(101);
    let fields: Vec<String> = validate(&long).into_iter().map(|issue| issue.field).collect();
    assert_eq!(fields, ["team", "match.message.contains"]);
}

#[test]
fn tests_of_a_rule_are_run_against_it_alone() {
    let yaml = "{match: {message: {contains: x}}, handling: {production: a, development: b}, team: T, enabled: false, mode: Shadow,
        tests: [{event: {message: axb}, expect: match}, {event: {message: y}, expect: match}, {event: {message: X}, expect: no_match}]}";
    let spec: AlertRuleSpec = serde_saphyr::from_str(yaml).unwrap();
    let failures: Vec<String> = run_tests(&spec).iter().map(ToString::to_string).collect();
    assert_eq!(
        failures,
        [
            "tests[1]: expected a match, but the rule does not take the event",
            "tests[2]: expected no match, but the rule takes the event"
        ]
    );
}

#[test]
fn lint_tells_what_is_probably_not_meant() {
    let text = r"
- [down, '{message: {contains: down}}']
- [longer, '{message: {contains: link DOWN on}}']
- [regex, '{message: {regex: ''port \d+ is down!''}}']
- [severity, '{message: {contains: link down}, severity: {equals: 3}}']
- [trap, '{trapOid: 1.3.6}']
- [traplong, '{trapOid: 1.3.6.1}']
- [both, '{trapOid: 1.3.6.1, message: {contains: x1}}']
- [limited, '{message: {contains: fan}, severity: {atMost: 3}, hosts: [''core-*'']}']
- [covered, '{message: {contains: fanfail}, severity: {equals: 2}, hosts: [core-1]}']
- [notcovered, '{message: {contains: fanfail}, severity: {equals: 4}, hosts: [core-1]}']
- [elsewhere, '{message: {contains: fanfail}, severity: {equals: 2}}']
- [same, '{message: {regex: ''q+w''}}']
- [sameagain, '{message: {regex: ''q+w''}}']
- [look, '{message: {regex: ''(?<!a)bcdefg''}}']
";
    let rows: Vec<(String, String)> = serde_saphyr::from_str(text).unwrap();
    let mut rules: Vec<Rule> = rows
        .iter()
        .enumerate()
        .map(|(number, (name, matches))| {
            let mut rule = rule(name, matches);
            rule.spec.priority = number as i32;
            rule
        })
        .collect();
    rules[0].spec.handling.production = "page-and-ticket".to_owned();
    rules[0].spec.handling.development = "Page".to_owned();
    rules[4].spec.handling.production = "Ignore".to_owned();
    rules[4].spec.handling.development = "Page_onyl".to_owned();
    let warnings = lint(&RuleSet::new(rules, [], []));
    let of = |code| -> Vec<&str> {
        let warnings = warnings.iter().filter(move |warning| warning.code == code);
        warnings.map(|warning| warning.rule.trim_start_matches("ns/")).collect()
    };
    assert_eq!(of(LintCode::Shadowed), ["longer", "regex", "severity", "traplong", "covered", "sameagain"]);
    assert_eq!(of(LintCode::SlowRegex), ["same", "sameagain", "look"]);
    assert_eq!(of(LintCode::HandlingTypo), ["down", "down", "trap"]);
}

#[test]
fn the_schema_tells_every_field() {
    let schema = serde_json::to_value(schemars::schema_for!(AlertRuleSpec)).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["match", "handling", "team"]));
    for (name, field) in schema["properties"].as_object().unwrap() {
        assert!(field["description"].as_str().is_some_and(|text| text.len() > 20), "{name}: {field}");
    }
    assert_eq!(schema["properties"]["priority"]["default"], 100);
}

#[test]
fn samples_of_the_repository_are_good() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/samples/rules");
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        documents
            .extend(parse_documents(&text, &path.display().to_string()).unwrap_or_else(|errors| panic!("{errors}")));
    }
    for document in &documents {
        assert_eq!(document.validate(), []);
    }
    let set = RuleSet::from_documents(documents);
    assert!(set.rules().len() >= 5 && !set.development_hosts().is_empty());
    for rule in set.rules() {
        assert_eq!(run_tests(&rule.spec), [], "{}", rule.name);
    }
}

#[test]
fn examine_says_what_validate_tests_and_lint_say() {
    let bad = examine("ns/a", &spec("{message: {regex: 'a(b'}}"));
    assert_eq!(bad.issues, validate(&spec("{message: {regex: 'a(b'}}")));
    assert!(!bad.is_good() && bad.failures.is_empty());
    let mut tested = spec("{message: {contains: down}}");
    tested.tests =
        serde_json::from_value(serde_json::json!([{"event": {"message": "up"}, "expect": "match"}])).unwrap();
    let examined = examine("ns/a", &tested);
    assert_eq!((examined.issues.len(), &examined.failures), (0, &run_tests(&tested)));
    assert!(!examined.is_good());
    let slow = examine("ns/a", &spec("{message: {regex: 'q+w'}}"));
    assert!(slow.is_good() && slow.warnings.len() == 1);
}

#[test]
fn ten_thousand_rules_of_one_text_are_compared_quickly() {
    let on_host = |number: usize| {
        let mut spec = spec("{message: {contains: down}}");
        spec.matches.hosts = vec![format!("host-{number}")];
        spec
    };
    let claims: Vec<Claim> = (0..10_000).map(|number| examine("ns/a", &on_host(number)).claim).collect();
    let mut claims: Vec<&Claim> = claims.iter().collect();
    let everywhere = examine("ns/a", &spec("{message: {contains: 'is down'}}")).claim;
    let again = examine("ns/a", &spec("{message: {regex: 'it is down now'}}")).claim;
    claims.splice(0..0, [&everywhere]);
    claims.push(&again);
    let found = shadowed(&claims);
    assert_eq!(found.iter().flatten().count(), 1);
    assert_eq!(found.last(), Some(&Some(0)));
}

#[test]
fn a_set_joined_from_known_rules_is_the_canonical_document() {
    let rules = vec![rule("b", "{message: {contains: 'a \"quoted\" ü'}}"), rule("a", "{trapOid: 1.3.6}")];
    let set = RuleSet::new(rules, ["lab-1".to_owned()], [("core-1".to_owned(), "NETO".to_owned())]);
    let known: Vec<_> = set.rules().iter().map(|rule| serde_json::value::to_raw_value(rule).unwrap()).collect();
    let known: Vec<_> = known.iter().map(AsRef::as_ref).collect();
    let joined = RuleSet::join_canonical_json(&known, set.development_hosts(), set.teams());
    assert_eq!(joined, set.to_canonical_json());
}
