//! The status of an AlertRule, as a function of what is known. Pure.

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use mutt_crds::{AlertRuleStatus, PipelineBinding};

use super::acks::{Binding, Use, Waiting};
use super::form::{MESSAGE_CHARS_MAX, Verdict};
use super::index::RuleObject;
use crate::condition::{shortened, since};

/// How long the first write about a change waits for the alerters: they take some 100 ms, and one write that says Active
/// is better than two.
pub(super) const HOLD: Duration = Duration::from_secs(1);
/// From then on alerters without the change are named.
pub(super) const LAG: Duration = Duration::from_secs(30);
/// Alerters that are named.
const NAMED_MAX: usize = 5;

/// What is known about one rule.
#[derive(Debug)]
pub(super) struct Facts<'f> {
    /// As seen last.
    pub(super) object: &'f RuleObject,
    /// What is said about it on its own.
    pub(super) verdict: &'f Verdict,
    /// Its state in each pipeline that selects it, by `namespace/name`.
    pub(super) bindings: Vec<(String, Binding)>,
    /// The rule that takes everything that this one would take, and the pipeline where it does.
    pub(super) shadow: Option<(String, String)>,
    /// When its object or its place last changed.
    pub(super) changed: Instant,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// The status should be this; it may be so already.
    Be(Box<AlertRuleStatus>),
    /// More will be known soon; ask again then at the latest.
    Wait(Instant),
}

struct Word {
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Word {
    fn new(status: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: shortened(&message.into(), MESSAGE_CHARS_MAX) }
    }
}

/// The status as it should be.
pub(super) fn decide(facts: &Facts<'_>, now: Instant, time: Timestamp) -> Decision {
    let active = match active(facts, now) {
        Ok(active) => active,
        Err(until) => return Decision::Wait(until),
    };
    let mut words = vec![("Accepted", accepted(facts)), ("Active", active)];
    if let Some((by, pipeline)) = facts.shadow.as_ref().filter(|_| facts.verdict.is_accepted()) {
        let message = format!(
            "rule {by} is tried before and takes every event that this rule would take (pipeline {pipeline}); give this one a lower priority number or remove it"
        );
        words.push(("Reachable", Word::new("False", "ShadowedBy", message)));
    }
    let before = &facts.object.status;
    let condition = |(type_, word): (&str, Word)| Condition {
        type_: type_.to_owned(),
        status: word.status.to_owned(),
        reason: word.reason.to_owned(),
        message: word.message,
        observed_generation: Some(facts.object.generation),
        last_transition_time: since(&before.conditions, type_, word.status, Time(time)),
    };
    Decision::Be(Box::new(AlertRuleStatus {
        observed_generation: Some(facts.object.generation),
        conditions: words.into_iter().map(condition).collect(),
        pipelines: facts.bindings.iter().map(|(name, binding)| pipeline(facts, name, binding, now)).collect(),
    }))
}

fn accepted(facts: &Facts<'_>) -> Word {
    match facts.verdict {
        Verdict::Rejected { reason, message } => Word::new("False", reason, message.clone()),
        Verdict::Accepted { warnings } => {
            let tests = match facts.object.spec.as_ref().map_or(0, |spec| spec.tests.len()) {
                0 => "the rule compiles".to_owned(),
                1 => "the rule compiles and its test passes".to_owned(),
                tests => format!("the rule compiles and its {tests} tests pass"),
            };
            let warnings = warnings.iter().map(|warning| format!("; warning: {warning}"));
            Word::new("True", "Accepted", std::iter::once(tests).chain(warnings).collect::<String>())
        }
    }
}

fn is_enabled(object: &RuleObject) -> bool {
    object.spec.as_ref().is_ok_and(|spec| spec.enabled)
}

/// `Err` = more will be known soon.
fn active(facts: &Facts<'_>, now: Instant) -> Result<Word, Instant> {
    if !facts.verdict.is_accepted() {
        let is_served =
            facts.bindings.iter().any(|(_, binding)| binding.hash.is_some() || binding.use_ == Use::Unknown);
        let message =
            if is_served { "not accepted; its last accepted form stays in use" } else { "not accepted, not in use" };
        return Ok(Word::new("False", "Rejected", message));
    }
    if !is_enabled(facts.object) {
        return Ok(Word::new("False", "Disabled", "spec.enabled is false"));
    }
    let held_until = facts.changed + HOLD;
    if facts.bindings.is_empty() {
        return if now < held_until {
            Err(held_until)
        } else {
            Ok(Word::new(
                "False",
                "NotSelected",
                "no MuttPipeline selects this rule: see its ruleSelector and ruleNamespaceSelector",
            ))
        };
    }
    if let Some((name, reason)) = facts.bindings.iter().find_map(|(name, binding)| match &binding.use_ {
        Use::Refused(reason) => Some((name, reason)),
        _ => None,
    }) {
        return Ok(Word::new("False", "RefusedByAlerters", format!("alerters of {name} cannot use it: {reason}")));
    }
    let mut worst: Option<(u8, Word)> = None;
    for (name, binding) in &facts.bindings {
        let waiting = match &binding.use_ {
            Use::Waiting(waiting) => waiting,
            Use::None | Use::Unknown => return Err(now + HOLD),
            Use::Active(_) | Use::Refused(_) => continue,
        };
        if now < waiting.since + HOLD {
            return Err(waiting.since + HOLD);
        }
        let found = inactive(name, waiting, now);
        if worst.as_ref().is_none_or(|(rank, _)| *rank < found.0) {
            worst = Some(found);
        }
    }
    Ok(worst.map_or_else(|| Word::new("True", "Active", "all live alerters use it"), |(_, word)| word))
}

/// Why a rule is not active in one pipeline; the higher rank is told first.
fn inactive(pipeline: &str, waiting: &Waiting, now: Instant) -> (u8, Word) {
    if waiting.in_trouble {
        let message = format!("cannot be brought to the alerters of {pipeline}: see the status of that MuttPipeline");
        return (3, Word::new("Unknown", "NotPublished", message));
    }
    if waiting.alive == 0 {
        return (1, Word::new("Unknown", "NoWorkers", format!("{pipeline} has no live alerter")));
    }
    if now < waiting.since + LAG {
        return (0, Word::new("False", "Pending", format!("waiting for alerters of {pipeline}")));
    }
    let named: Vec<&str> = waiting.laggards.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = waiting.laggards.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!("alerters of {pipeline} that do not use it yet: {}{more}; see their logs", named.join(", "));
    (2, Word::new("False", "AlertersLag", message))
}

fn pipeline(facts: &Facts<'_>, name: &str, binding: &Binding, now: Instant) -> PipelineBinding {
    let known = || facts.object.status.pipelines.iter().find(|known| known.name == name).cloned();
    let counts = is_enabled(facts.object) || !facts.verdict.is_accepted();
    let active = match &binding.use_ {
        Use::Unknown => {
            return known().unwrap_or_else(|| PipelineBinding { name: name.to_owned(), ..Default::default() });
        }
        Use::Active(count) if counts => Some(count.clone()),
        // Not counted while it changes from second to second.
        Use::Waiting(waiting) if counts && waiting.alive > 0 && now >= waiting.since + LAG => {
            Some(format!("{}/{}", waiting.active, waiting.alive))
        }
        _ => None,
    };
    PipelineBinding { name: name.to_owned(), hash: binding.hash.clone(), active }
}
