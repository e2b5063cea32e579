//! One rule on its own: whether it is accepted, and the form in which alerters get it. Pure.

use mutt_rules::{AlertRuleSpec, Claim, Examined, Rule, examine, hex};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use crate::condition::shortened;

/// Characters of a condition's message and of an Event's note.
pub(super) const MESSAGE_CHARS_MAX: usize = 900;

/// A rule as alerters get it. Immutable, shared by all pipelines that select it.
#[derive(Debug)]
pub(super) struct Form {
    /// The rule; its name is `namespace/name`.
    pub(super) rule: Rule,
    /// Its place in the canonical document.
    pub(super) json: Box<RawValue>,
    /// First twelve hex digits of the SHA-256 of that.
    pub(super) hash: String,
    /// What it takes.
    pub(super) claim: Claim,
}

impl Form {
    /// The form of a rule whose claim is known.
    pub(super) fn new(rule: Rule, claim: Claim) -> Self {
        let json =
            to_raw_value(&rule).unwrap_or_else(|error| unreachable!("strings and numbers always serialise: {error}"));
        let hash = hex(&Sha256::digest(json.get())[..6]);
        Self { rule, json, hash, claim }
    }

    /// The form of a rule that was in use before and is taken over as it is.
    pub(super) fn recovered(rule: Rule) -> Self {
        let claim = examine(&rule.name, &rule.spec).claim;
        Self::new(rule, claim)
    }

    /// `namespace/name`.
    pub(super) fn name(&self) -> &str {
        &self.rule.name
    }
}

/// What is said about a rule on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It compiles and its tests pass.
    Accepted {
        /// What is probably not meant.
        warnings: Vec<String>,
    },
    /// It does not.
    Rejected {
        /// Reason of the condition.
        reason: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
}

impl Verdict {
    /// Whether the rule may come into use.
    pub(super) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }

    /// The verdict on an object that is stored but cannot be read.
    pub(super) fn unreadable(error: &str) -> Self {
        Self::Rejected {
            reason: "Unreadable",
            message: shortened(&format!("the stored object is no AlertRule: {error}"), MESSAGE_CHARS_MAX),
        }
    }
}

/// Judges a rule; an accepted one comes with its form.
pub(super) fn judge(name: &str, spec: &AlertRuleSpec) -> (Verdict, Option<Form>) {
    let Examined { issues, failures, warnings, claim } = examine(name, spec);
    let listed = |items: Vec<String>| shortened(&items.join("; "), MESSAGE_CHARS_MAX);
    if !issues.is_empty() {
        let message = listed(issues.iter().map(|issue| format!("spec.{issue}")).collect());
        return (Verdict::Rejected { reason: "Invalid", message }, None);
    }
    if !failures.is_empty() {
        let message = listed(failures.iter().map(|failure| format!("spec.{failure}")).collect());
        return (Verdict::Rejected { reason: "TestsFailed", message }, None);
    }
    let warnings = warnings.iter().map(|warning| format!("spec.{}: {}", warning.field, warning.message)).collect();
    let rule = Rule { id: None, name: name.to_owned(), spec: spec.clone() };
    (Verdict::Accepted { warnings }, Some(Form::new(rule, claim)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: serde_json::Value) -> AlertRuleSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_rule_is_judged_by_its_faults_then_by_its_tests() {
        let handling = json!({"production": "Page_only", "development": "Ignore"});
        let (verdict, form) = judge(
            "ns/a",
            &spec(json!({"match": {"message": {"contains": "down"}}, "handling": handling, "team": "NETO"})),
        );
        assert_eq!(verdict, Verdict::Accepted { warnings: vec![] });
        let form = form.unwrap();
        assert_eq!((form.name(), form.hash.len()), ("ns/a", 12));

        let (verdict, form) =
            judge("ns/a", &spec(json!({"match": {"message": {"regex": "a(b"}}, "handling": handling, "team": "NETO"})));
        let Verdict::Rejected { reason: "Invalid", message } = verdict else { panic!("{verdict:?}") };
        assert!(message.starts_with("spec.match.message.regex: ") && message.contains('2'), "{message}");
        assert!(form.is_none());

        let tests = json!([
            {"event": {"message": "link down"}, "expect": "match"},
            {"event": {"message": "link up"}, "expect": "match"}
        ]);
        let (verdict, _) = judge(
            "ns/a",
            &spec(
                json!({"match": {"message": {"contains": "down"}}, "handling": handling, "team": "NETO", "tests": tests}),
            ),
        );
        let Verdict::Rejected { reason: "TestsFailed", message } = verdict else { panic!("{verdict:?}") };
        assert_eq!(message, "spec.tests[1]: expected a match, but the rule does not take the event");

        let (verdict, _) = judge(
            "ns/a",
            &spec(
                json!({"match": {"message": {"contains": "down"}}, "handling": {"production": "Page", "development": ""}, "team": "NETO"}),
            ),
        );
        let Verdict::Accepted { warnings } = verdict else { panic!("{verdict:?}") };
        assert!(warnings[0].starts_with("spec.handling.production: `Page` forwards nothing"), "{warnings:?}");
    }
}
