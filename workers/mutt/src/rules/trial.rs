//! `mutt rules test`: the tests that rules carry, and which rule takes an event.

use std::path::PathBuf;

use mutt_rules::{Compiled, Event, Scratch, run_tests};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::sources::{Sources, counted};
use super::why::{Criterion, criteria};
use crate::alert::QueuedEvent;
use crate::cli::{Output, print};
use crate::worker::Fatal;

/// Rules that are named with what they miss when none takes an event.
const MISSES_MAX: usize = 10;

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Trial {
    rules: usize,
    tests: usize,
    failures: Vec<Failure>,
    events: Vec<Verdict>,
}

#[derive(Debug, Serialize)]
struct Failure {
    rule: String,
    test: usize,
    message: String,
}

/// What the rules say to one event.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// The rule that takes it, if one does.
    pub(super) rule: Option<String>,
    handling: Option<String>,
    development_host: bool,
    /// Whether an alert is forwarded.
    pub(super) forwarded: bool,
    team: Option<String>,
    alert_severity: Option<&'static str>,
    /// Why: the criteria of the rule that takes it.
    criteria: Vec<Criterion>,
    /// Shadow rules that would have taken it.
    shadows: Vec<String>,
    /// If no rule takes it: what the first rules miss.
    misses: Vec<Miss>,
}

#[derive(Debug, Serialize)]
struct Miss {
    rule: String,
    criteria: Vec<Criterion>,
}

/// Runs `mutt rules test`.
pub(super) fn trial(paths: &[PathBuf], event: Option<&str>, output: Output) -> Result<(), Fatal> {
    let mut sources = Sources::read(paths);
    // A test that fails is what this command reports itself; any other fault ends it.
    sources.problems.retain(|problem| !problem.is_failed_test);
    let sources = sources.without_problems(output, "")?;
    let events = event.map(read_events).transpose()?.unwrap_or_default();
    let mut trial = carried(&sources);
    for event in &events {
        trial.events.push(decide(&sources, event)?);
    }
    print(output, &trial, text)?;
    if trial.failures.is_empty() { Ok(()) } else { Err(Fatal::Findings(counted(trial.failures.len(), "failed test"))) }
}

fn carried(sources: &Sources) -> Trial {
    let mut trial = Trial { rules: sources.rules.len(), tests: 0, failures: Vec::new(), events: Vec::new() };
    for rule in &sources.rules {
        trial.tests += rule.spec.tests.len();
        trial.failures.extend(run_tests(&rule.spec).into_iter().map(|failure| Failure {
            rule: rule.qualified_name(),
            test: failure.index,
            message: failure.message,
        }));
    }
    trial
}

/// The events of `--event`: JSON text, or a file with one object or one per line.
fn read_events(argument: &str) -> Result<Vec<Map<String, Value>>, Fatal> {
    let inline = argument.trim_start().starts_with('{');
    let (origin, text) = if inline {
        ("--event".to_owned(), argument.to_owned())
    } else {
        let text = std::fs::read_to_string(argument)
            .map_err(|error| Fatal::Findings(format!("--event: cannot read {argument}: {error}")))?;
        (argument.to_owned(), text)
    };
    let mut events = Vec::new();
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        match value {
            Ok(Value::Object(event)) => events.push(event),
            Ok(_) => return Err(Fatal::Findings(format!("{origin}: an event is a JSON object"))),
            Err(error) => return Err(Fatal::Findings(format!("{origin}: not JSON: {error}"))),
        }
    }
    if events.is_empty() {
        return Err(Fatal::Findings(format!("{origin}: no event in it")));
    }
    Ok(events)
}

/// What the rules say to an event, read as the alerter reads it. What it lacks for being ingested is added.
pub(super) fn decide(sources: &Sources, event: &Map<String, Value>) -> Result<Verdict, Fatal> {
    let mut event = event.clone();
    event.entry("timestamp").or_insert_with(|| json!(0));
    event.entry("hostname").or_insert_with(|| json!("unnamed"));
    event.entry("message").or_insert_with(|| json!(" "));
    let text = Value::Object(event).to_string();
    let (queued, _) = QueuedEvent::parse(text.as_bytes())
        .map_err(|rejected| Fatal::Findings(format!("--event: {}", rejected.detail)))?;
    let event = queued.view();
    let set = sources.rule_set();
    let compiled = Compiled::build(&set, None);
    let mut scratch = Scratch::default();
    let decision = compiled.decide(&event, &mut scratch);
    let handled = decision.handled();
    let of_rule = |name: &str| set.rules().iter().find(|rule| rule.name == name);
    let shadows = scratch.shadows().iter().filter_map(|index| compiled.rule(*index)).map(|rule| rule.name.clone());
    let taken_by = handled.and_then(|handled| of_rule(&handled.rule.name));
    Ok(Verdict {
        rule: handled.map(|handled| handled.rule.name.clone()),
        handling: handled.map(|handled| handled.handling.to_owned()),
        development_host: compiled.is_development_host(event.hostname),
        forwarded: handled.is_some_and(|handled| handled.forward),
        team: handled.map(|handled| handled.team.to_owned()),
        alert_severity: handled.map(|handled| handled.alert_severity.as_str()),
        criteria: taken_by.map(|rule| criteria(&rule.spec, &event)).unwrap_or_default(),
        shadows: shadows.collect(),
        misses: if handled.is_some() { Vec::new() } else { misses(&set, &event) },
    })
}

fn misses(set: &mutt_rules::RuleSet, event: &Event<'_>) -> Vec<Miss> {
    let miss = |rule: &mutt_rules::Rule| Miss { rule: rule.name.clone(), criteria: criteria(&rule.spec, event) };
    set.rules().iter().take(MISSES_MAX).map(miss).collect()
}

fn text(trial: &Trial) -> String {
    let mut lines: Vec<String> = trial
        .failures
        .iter()
        .map(|failure| format!("FAILED {} tests[{}]: {}", failure.rule, failure.test, failure.message))
        .collect();
    let passed = trial.tests - trial.failures.len().min(trial.tests);
    lines.push(format!("{}: {passed} of {} passed", counted(trial.rules, "rule"), counted(trial.tests, "test")));
    for verdict in &trial.events {
        lines.extend(verdict.lines());
    }
    lines.join("\n")
}

impl Verdict {
    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.rule {
            None => lines.push("no rule takes the event: it is audited as unhandled".to_owned()),
            Some(rule) => {
                let host = if self.development_host { "development" } else { "production" };
                let handling = self.handling.as_deref().unwrap_or_default();
                let what = if self.forwarded {
                    let severity = self.alert_severity.unwrap_or_default();
                    format!("forwarded as {severity} to team {}", self.team.as_deref().unwrap_or_default())
                } else {
                    "audited only".to_owned()
                };
                lines.push(format!("{rule} takes the event: {handling} ({host} host), {what}"));
            }
        }
        lines.extend(self.criteria.iter().map(|criterion| format!("  {criterion}")));
        lines.extend(self.shadows.iter().map(|rule| format!("  {rule} would take it, but is in shadow mode")));
        for miss in &self.misses {
            lines.push(format!("  {}:", miss.rule));
            lines.extend(miss.criteria.iter().map(|criterion| format!("    {criterion}")));
        }
        lines
    }
}
