//! All that can be said about one rule on its own.

use crate::check::{TestFailure, run_tests};
use crate::compile::pattern::Pattern;
use crate::lint::{LintWarning, alone};
use crate::reach::Claim;
use crate::spec::AlertRuleSpec;
use crate::validate::{RuleIssue, pattern_issue, validate_shape};

/// What an examination found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// Faults; with one the rule does not compile.
    pub issues: Vec<RuleIssue>,
    /// Tests of the rule that did not come out as expected; none are run where there is a fault.
    pub failures: Vec<TestFailure>,
    /// What is probably not meant.
    pub warnings: Vec<LintWarning>,
    /// What the rule takes, to be compared with others by [`crate::shadowed`].
    pub claim: Claim,
}

impl Examined {
    /// Whether the rule may come into use.
    pub fn is_good(&self) -> bool {
        self.issues.is_empty() && self.failures.is_empty()
    }
}

/// Looks at one rule as [`crate::validate`], [`run_tests`] and [`crate::lint`] do, and compiles its pattern only once if
/// it has no tests.
pub fn examine(name: &str, spec: &AlertRuleSpec) -> Examined {
    let mut issues = validate_shape(spec);
    let pattern = match spec.matches.message.as_ref().map(Pattern::new) {
        Some(Ok(pattern)) => pattern,
        Some(Err(error)) => {
            issues.push(pattern_issue(error));
            None
        }
        None => None,
    };
    let failures = if issues.is_empty() && !spec.tests.is_empty() { run_tests(spec) } else { Vec::new() };
    let warnings = alone(name, &spec.handling, pattern.as_ref());
    Examined { issues, failures, warnings, claim: Claim::new(spec, pattern.as_ref()) }
}
