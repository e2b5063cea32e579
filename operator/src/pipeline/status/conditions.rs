//! The five conditions. Each is computed anew from what is known now; none remembers more than when it last changed.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::{SignedDuration, Timestamp},
};

use super::{Findings, autoscaling::autoscaling_ready, workloads::Role};
use crate::{
    condition::{shortened, since},
    pipeline::{
        error::{Class, Error},
        kinds::ChildKind,
    },
};

/// Bound of a condition's message: the API's is 32 KiB, a reader's is less.
const MESSAGE_MAX: usize = 2_000;
/// Longer than an image is fetched and a pod starts.
const STUCK_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// The pods are of the current form, and not ready.
const NOT_READY: &str = "PodsNotReady";

/// Status, reason, message.
pub(super) type Verdict = (&'static str, String, String);

pub(super) fn verdict(status: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Verdict {
    (status, reason.into(), message.into())
}

/// All of them, in a fixed order.
pub(super) fn conditions(findings: &Findings<'_>) -> Vec<Condition> {
    let (rules, degraded, progressing) = (rules_active(findings), degraded(findings), progressing(findings));
    let ready = ready(findings, &rules, &degraded, &progressing);
    [
        ("Ready", ready),
        ("Progressing", progressing),
        ("Degraded", degraded),
        ("RulesActive", rules),
        ("AutoscalingReady", autoscaling_ready(findings)),
    ]
    .map(|(type_, verdict)| condition(findings, type_, verdict))
    .into()
}

fn condition(findings: &Findings<'_>, type_: &str, (status, reason, message): Verdict) -> Condition {
    let before = findings.before.map_or(&[][..], |before| &before.conditions);
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        observed_generation: findings.generation,
        reason,
        message: shortened(&message, MESSAGE_MAX),
        last_transition_time: since(before, type_, status, findings.now.clone()),
    }
}

/// Whether an error is for a person, not one that passes.
fn is_for_a_person(error: &Error) -> bool {
    matches!(error.class(), Class::User | Class::Surroundings | Class::Bug)
        || ["Forbidden", "QuotaExceeded"].contains(&error.reason().as_str())
}

/// Something needs a person.
fn degraded(findings: &Findings<'_>) -> Verdict {
    let mut troubles: Vec<(String, String)> = Vec::new();
    for error in findings.errors.iter().filter(|error| is_for_a_person(error)) {
        troubles.push((error.reason(), error.to_string()));
    }
    if let Some(rules) = findings.rules {
        troubles.extend(rules.redis_error.iter().map(|error| ("RedisUnreachable".to_owned(), error.clone())));
        troubles.extend(rules.cluster_error.iter().map(|error| ("RulesNotPublished".to_owned(), error.clone())));
    }
    for ((_, name), words) in findings.symptoms {
        let migration = findings.workloads.migration.as_ref() == Some(name);
        let (reason, what) =
            if migration { ("MigrationFailing", "database schema") } else { ("PodsFailing", name.as_str()) };
        troubles.push((reason.to_owned(), format!("{what}: {words}")));
    }
    for role in findings.workloads.roles.iter().filter(|role| is_stuck(role, findings.now.0)) {
        // Its pods' own words say more.
        if !findings.symptoms.contains_key(&(ChildKind::Deployment, role.deployment.clone())) {
            troubles.push((NOT_READY.to_owned(), role_in_words(role)));
        }
    }
    match troubles.first() {
        Some((reason, _)) => verdict("True", reason, joined(troubles.iter().map(|(_, message)| message.as_str()))),
        None => match findings.warnings.first() {
            Some(first) => {
                let all = findings.warnings.iter().map(|warning| warning.message.as_str());
                verdict("False", first.reason.to_string(), joined(all))
            }
            None => verdict("False", "AsExpected", "nothing needs a person"),
        },
    }
}

/// A rollout or a migration is under way, or something is tried again by itself.
fn progressing(findings: &Findings<'_>) -> Verdict {
    if findings.paused {
        return verdict("False", "Paused", "spec.paused is set: the operator changes no object; rules go on");
    }
    if let Some(error) = findings.errors.iter().find(|error| !is_for_a_person(error)) {
        return verdict("True", "Retrying", format!("{error}; tried again"));
    }
    if let Some(error) = findings.errors.iter().find(|error| !matches!(error, Error::Child { .. })) {
        return verdict("False", error.reason(), "nothing is changed before the trouble in Degraded is solved");
    }
    if let Some(error) = error_of_child(findings, ChildKind::Job) {
        return verdict("False", error.reason(), "the database schema waits until the trouble in Degraded is solved");
    }
    if let Some(job) = &findings.workloads.migration {
        return verdict("True", "MigratingDatabase", format!("Job {job} brings the database schema up to date"));
    }
    let unsettled: Vec<_> = findings.workloads.roles.iter().filter(|role| !role.settled).collect();
    match unsettled.first() {
        Some(_) => {
            let rolls = unsettled.iter().any(|role| !role.rolled_out || role.held_back);
            let stuck = unsettled.iter().all(|role| is_stuck(role, findings.now.0));
            let status = if stuck { "False" } else { "True" };
            let reason = if rolls { "RollingOut" } else { NOT_READY };
            verdict(status, reason, joined(unsettled.iter().map(|role| role_in_words(role))))
        }
        None => match findings.errors.first() {
            Some(error) => verdict("False", error.reason(), "what is in order is done; the rest waits, see Degraded"),
            None => verdict("False", "Complete", "every role runs with the current settings"),
        },
    }
}

/// Why a child of this kind could not be written.
fn error_of_child<'a>(findings: &Findings<'a>, kind: ChildKind) -> Option<&'a Error> {
    findings.errors.iter().find(|error| matches!(error, Error::Child { kind: failed, .. } if *failed == kind))
}

/// Whether its pods will hardly get ready by themselves any more.
fn is_stuck(role: &Role, now: Timestamp) -> bool {
    let lasts = |since: &Time| now.duration_since(since.0) > STUCK_AFTER;
    !role.settled && (role.overdue || role.unavailable_since.as_ref().is_some_and(lasts))
}

fn role_in_words(role: &Role) -> String {
    let status = &role.status;
    let waits = if role.held_back { ", waits for the database schema" } else { "" };
    format!("{}: {} of {} ready, {} updated{waits}", status.name, status.ready, status.desired, status.updated)
}

/// Whether the alerters use the current rules.
fn rules_active(findings: &Findings<'_>) -> Verdict {
    let Some(rules) = findings.rules else {
        return verdict("Unknown", "NotYetKnown", "the rules have not been looked at yet");
    };
    if let Some(error) = &rules.selector_error {
        let message = format!("{error}; the rules that were selected before stay in use");
        return verdict("False", "InvalidSelector", message);
    }
    if let Some(error) = &rules.redis_error {
        return verdict("False", "RedisUnreachable", error);
    }
    if let Some(error) = &rules.cluster_error {
        return verdict("False", "RulesNotPublished", error);
    }
    if rules.revision.is_none() {
        return verdict("False", "NotYetPublished", "the rules have not been published yet");
    }
    let rejected = if rules.rejected == 0 {
        String::new()
    } else {
        format!("; {} rejected, see `kubectl get alertrules`", rules.rejected)
    };
    if rules.alerters_alive == 0 {
        return verdict(
            "Unknown",
            "NoAlerters",
            format!("{} rules are published, no alerter is alive{rejected}", rules.accepted),
        );
    }
    if rules.alerters_active < rules.alerters_alive {
        let laggards = rules.laggards.iter().take(super::LAGGARDS_MAX).map(String::as_str);
        let message =
            format!("{} alerters use the current rules; not yet: {}", rules.alerters(), joined_by(", ", laggards));
        return verdict("False", "Distributing", message);
    }
    verdict("True", "AllActive", format!("{} rules on {} alerters{rejected}", rules.accepted, rules.alerters()))
}

/// Events go in, alerts come out.
fn ready(findings: &Findings<'_>, rules: &Verdict, degraded: &Verdict, progressing: &Verdict) -> Verdict {
    // Errors of single children leave running what runs; all others leave nothing that could be counted on.
    if let Some(error) = findings.errors.iter().find(|error| !matches!(error, Error::Child { .. } | Error::Status(..)))
    {
        return verdict("False", error.reason(), error.to_string());
    }
    let short: Vec<_> =
        findings.workloads.roles.iter().filter(|role| role.status.ready < role.status.desired).collect();
    if !short.is_empty() {
        // The trouble, if there is one, says more than the numbers.
        let (reason, message) = match (degraded.0, progressing.0) {
            ("True", _) => (degraded.1.clone(), degraded.2.clone()),
            (_, "True") => (progressing.1.clone(), progressing.2.clone()),
            _ => (NOT_READY.to_owned(), joined(short.iter().map(|role| role_in_words(role)))),
        };
        return verdict("False", reason, message);
    }
    if ["RedisUnreachable", "RulesNotPublished", "NotYetPublished", "NotYetKnown"].contains(&rules.1.as_str()) {
        let status = if rules.0 == "Unknown" { "Unknown" } else { "False" };
        return verdict(status, rules.1.clone(), rules.2.clone());
    }
    if findings.paused {
        return verdict(
            "True",
            "Paused",
            "every role runs; spec.paused is set: the operator changes no object; rules go on",
        );
    }
    verdict("True", "Running", "every role runs")
}

pub(super) fn joined(parts: impl Iterator<Item = impl AsRef<str>>) -> String {
    joined_by("; ", parts)
}

pub(super) fn joined_by(between: &str, parts: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut text = String::new();
    for part in parts {
        if !text.is_empty() {
            text.push_str(between);
        }
        text.push_str(part.as_ref());
    }
    text
}
