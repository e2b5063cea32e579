//! Runs the tests that a rule carries.

use std::fmt;

use crate::compile::Compiled;
use crate::decide::Scratch;
use crate::event::Event;
use crate::rule_set::{Rule, RuleSet};
use crate::spec::{AlertRuleSpec, Expectation, Mode};

/// A test of a rule that did not come out as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// Index in `tests`, from 0.
    pub index: usize,
    /// What was expected.
    pub expected: Expectation,
    /// What went wrong.
    pub message: String,
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tests[{}]: {}", self.index, self.message)
    }
}

/// Runs a rule's tests against the rule alone, whether or not it is enabled; returns those that failed.
pub fn run_tests(spec: &AlertRuleSpec) -> Vec<TestFailure> {
    let alone = AlertRuleSpec { enabled: true, mode: Mode::Active, ..spec.clone() };
    let set = RuleSet::new(vec![Rule { id: None, name: "test/rule".to_owned(), spec: alone }], [], []);
    let compiled = Compiled::build(&set, None);
    let broken = compiled.errors().first().map(|error| error.reason.clone());
    let mut scratch = Scratch::default();
    let mut failures = Vec::new();
    for (index, test) in spec.tests.iter().enumerate() {
        let taken = compiled.decide(&Event::from(&test.event), &mut scratch).is_handled();
        let message = match (&broken, test.expect, taken) {
            (Some(reason), _, _) => format!("the rule does not compile: {reason}"),
            (None, Expectation::Match, false) => "expected a match, but the rule does not take the event".to_owned(),
            (None, Expectation::NoMatch, true) => "expected no match, but the rule takes the event".to_owned(),
            (None, Expectation::Match, true) | (None, Expectation::NoMatch, false) => continue,
        };
        failures.push(TestFailure { index, expected: test.expect, message });
    }
    failures
}
