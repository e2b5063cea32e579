//! What scales the roles, why that, and whether it can.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::core::DynamicObject;
use mutt_crds::pipeline::AutoscalingMode as Mode;

use super::{
    Findings,
    conditions::{Verdict, joined, joined_by, verdict},
};
use crate::pipeline::{
    apply::Present,
    error::Error,
    kinds::ChildKind,
    resolve::{Choice, Resolved},
};

/// What was decided, and what of it has to wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Autoscaling {
    roles: Vec<Decided>,
    /// By the Deployment's name: what it waits for.
    waiting: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Decided {
    role: &'static str,
    deployment: String,
    /// None = it is not autoscaled.
    choice: Option<Choice>,
}

impl Autoscaling {
    /// Of a pipeline whose children were applied.
    pub fn new(pipeline: &Resolved, waiting: BTreeMap<String, String>) -> Self {
        let roles = pipeline.roles().map(|role| Decided {
            role: role.component.word(),
            deployment: role.component.child_name(&pipeline.name),
            choice: role.autoscaling.clone(),
        });
        Self { roles: roles.collect(), waiting }
    }

    fn choices(&self) -> impl Iterator<Item = (&Decided, &Choice)> {
        self.roles.iter().filter_map(|decided| Some((decided, decided.choice.as_ref()?)))
    }
}

/// One autoscaler, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoscaler {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// Name of the Deployment that it scales.
    pub deployment: String,
    /// Whether it works; none = it has not said yet.
    pub works: Option<bool>,
    /// Reason and message of what keeps it from working.
    pub trouble: Option<(String, String)>,
}

/// All that are there.
pub(super) fn autoscalers(present: &Present) -> Vec<Autoscaler> {
    let scalers = present.iter().filter_map(|((kind, name), object)| match kind {
        ChildKind::HorizontalPodAutoscaler => horizontal(name, (**object).clone(), present),
        ChildKind::ScaledObject => Some(scaled_object(name, object, present)),
        _ => None,
    });
    scalers.collect()
}

fn horizontal(name: &str, object: DynamicObject, present: &Present) -> Option<Autoscaler> {
    let object: HorizontalPodAutoscaler = object.try_parse().ok()?;
    let deployment = object.spec?.scale_target_ref.name;
    let conditions = object.status.and_then(|status| status.conditions).unwrap_or_default();
    let is = |type_: &str, status: &str| {
        conditions.iter().find(|condition| condition.type_ == type_ && condition.status == status)
    };
    // Where KEDA goes down to zero, it switches its HorizontalPodAutoscaler off in that way.
    let scaled_object = present.get(&(ChildKind::ScaledObject, deployment.clone()));
    let may_sleep = scaled_object.is_some_and(|object| object.data["spec"]["minReplicaCount"] == 0);
    let trouble = ["AbleToScale", "ScalingActive"].into_iter().find_map(|type_| {
        let condition = is(type_, "False")?;
        let (reason, said) = (condition.reason.as_deref().unwrap_or_default(), condition.message.as_deref());
        let said = said.unwrap_or_default();
        match reason {
            "ScalingDisabled" if may_sleep => None,
            "ScalingDisabled" => {
                let how = format!("{said}; `kubectl scale deployment {deployment} --replicas=1` ends that");
                Some((reason.to_owned(), how))
            }
            _ => Some((reason.to_owned(), steady(said))),
        }
    });
    let asleep = may_sleep && is("ScalingActive", "False").is_some();
    let active = is("ScalingActive", "True").is_some() || asleep;
    let works = if trouble.is_some() { Some(false) } else { active.then_some(true) };
    Some(Autoscaler { kind: ChildKind::HorizontalPodAutoscaler, name: name.to_owned(), deployment, works, trouble })
}

fn scaled_object(name: &str, object: &DynamicObject, present: &Present) -> Autoscaler {
    let conditions = object.data["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let is = |type_: &str, status: &str| {
        conditions.iter().find(|condition| condition["type"] == type_ && condition["status"] == status)
    };
    // Before KEDA has looked at it, Ready is Unknown without a reason.
    let partly = || is("Ready", "Unknown").filter(|condition| !text(&condition["reason"]).is_empty());
    // What its HorizontalPodAutoscaler says itself is not said twice.
    let seen = present.contains_key(&(ChildKind::HorizontalPodAutoscaler, text(&object.data["status"]["hpaName"])));
    let bad = is("Paused", "True")
        .or_else(|| is("Ready", "False"))
        .or_else(partly)
        .or_else(|| is("Fallback", "True"))
        .or_else(|| is("HPAActive", "False").filter(|_| !seen));
    let trouble = bad.map(|condition| (text(&condition["reason"]), steady(&text(&condition["message"]))));
    let works = if trouble.is_some() { Some(false) } else { is("Ready", "True").map(|_| true) };
    let deployment = text(&object.data["spec"]["scaleTargetRef"]["name"]);
    Autoscaler { kind: ChildKind::ScaledObject, name: name.to_owned(), deployment, works, trouble }
}

/// Without the numbers that stand alone (`73`, `1.5s`): a message that counts would be written anew each time.
fn steady(message: &str) -> String {
    let counts = |word: &str| {
        let number = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let unit = number.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        unit.len() < number.len() && ["", "s", "ms", "m", "h", "%"].contains(&unit)
    };
    let words: Vec<_> = message.split(' ').map(|word| if counts(word) { "…" } else { word }).collect();
    words.join(" ")
}

/// Whether what scales the roles can do so.
pub(super) fn autoscaling_ready(findings: &Findings<'_>) -> Verdict {
    let troubles = troubles(findings);
    if let Some((reason, _)) = troubles.first() {
        let reason = if reason.is_empty() { "Failing" } else { reason.as_str() };
        let troubles = troubles.iter().map(|(_, message)| message.clone());
        return verdict("False", reason, joined(troubles.chain(modes(findings))));
    }
    let Some(autoscaling) = findings.autoscaling else {
        let reason = findings.errors.first().map_or_else(|| "NotYetKnown".to_owned(), Error::reason);
        return verdict(
            "Unknown",
            reason,
            "what scales the roles stays as it is until the trouble in Degraded is solved",
        );
    };
    let waiting: Vec<_> = autoscaling.roles.iter().filter_map(|decided| waits(decided, autoscaling)).collect();
    if !waiting.is_empty() {
        return verdict("Unknown", "Switching", joined(waiting.iter()));
    }
    if let Some((decided, choice)) = autoscaling.choices().find(|(_, choice)| choice.mode == Mode::Auto) {
        return verdict("Unknown", "NotYetKnown", format!("{}: {}", decided.role, choice.why));
    }
    let silent = autoscaling.choices().filter(|(decided, choice)| !works(findings, decided, choice.mode));
    let silent: Vec<_> = silent
        .map(|(decided, choice)| match choice.mode {
            // Where KEDA's definitions are there and its operator is not, this stays so.
            Mode::Keda => format!("{} (by KEDA; if it stays so, does its operator run?)", decided.deployment),
            _ => decided.deployment.clone(),
        })
        .collect();
    if !silent.is_empty() {
        let silent = format!("not measured yet: {}", joined_by(", ", silent.into_iter()));
        return verdict("Unknown", "Pending", joined(std::iter::once(silent).chain(modes(findings))));
    }
    let mut chosen: Vec<_> = autoscaling.choices().map(|(_, choice)| choice.mode).collect();
    chosen.dedup();
    let reason = match chosen.as_slice() {
        [] => return verdict("True", "None", "no role is scaled by itself"),
        [mode] => format!("{mode:?}"),
        _ => "Mixed".to_owned(),
    };
    verdict("True", reason, joined(modes(findings)))
}

/// What scales each role, and why.
fn modes(findings: &Findings<'_>) -> impl Iterator<Item = String> {
    let choices = findings.autoscaling.into_iter().flat_map(Autoscaling::choices);
    let decided = choices.filter(|(_, choice)| choice.obstacle.is_none() && choice.mode != Mode::Auto);
    decided.map(|(decided, choice)| format!("{}: {:?} ({})", decided.role, choice.mode, choice.why))
}

fn waits(decided: &Decided, autoscaling: &Autoscaling) -> Option<String> {
    let what = autoscaling.waiting.get(&decided.deployment)?;
    let mode = decided.choice.as_ref().map(|choice| format!("{:?} ", choice.mode)).unwrap_or_default();
    Some(format!("{}: {mode}waits {what}", decided.role))
}

/// Whether what was chosen is there and has said that it works.
fn works(findings: &Findings<'_>, decided: &Decided, mode: Mode) -> bool {
    let kind = match mode {
        Mode::Keda => ChildKind::ScaledObject,
        Mode::External | Mode::Resource => ChildKind::HorizontalPodAutoscaler,
        Mode::Auto | Mode::None => return true,
    };
    let scalers = &findings.workloads.autoscalers;
    let mut own = scalers.iter().filter(|scaler| scaler.deployment == decided.deployment);
    own.clone().any(|scaler| scaler.kind == kind) && own.all(|scaler| scaler.works == Some(true))
}

/// Reasons and messages of what keeps roles from being scaled.
fn troubles(findings: &Findings<'_>) -> Vec<(String, String)> {
    let mut troubles = Vec::new();
    for (decided, choice) in findings.autoscaling.into_iter().flat_map(Autoscaling::choices) {
        if let Some(obstacle) = &choice.obstacle {
            let message = format!("{}: {:?} is not possible: {}", decided.role, choice.mode, obstacle.message);
            troubles.push((obstacle.reason.to_string(), message));
        }
    }
    for error in findings.errors {
        if matches!(error, Error::Child { kind, .. } if kind.is_autoscaler()) {
            troubles.push((error.reason(), error.to_string()));
        }
    }
    for scaler in &findings.workloads.autoscalers {
        // Without a Deployment it has nothing to scale yet; one that has to go needs not work any more.
        let deployment = findings.workloads.roles.iter().find(|role| role.deployment == scaler.deployment);
        let goes = findings.autoscaling.is_some_and(|all| all.waiting.contains_key(&scaler.deployment));
        if let Some((reason, message)) = &scaler.trouble
            && deployment.is_none_or(|role| role.exists)
            && !goes
        {
            troubles.push((reason.clone(), format!("{} {}: {message}", scaler.kind, scaler.name)));
        }
    }
    troubles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_in_a_message_is_left_out() {
        for (said, left) in [
            ("no answer for 73 s: connection refused", "no answer for … s: connection refused"),
            ("(1 invalid out of 2), after 1.5s", "… invalid out of … after …"),
            ("dial tcp 10.0.0.1:8443: refused", "dial tcp 10.0.0.1:8443: refused"),
            ("queue s0-metric-api-ingest-depth of v1beta1", "queue s0-metric-api-ingest-depth of v1beta1"),
        ] {
            assert_eq!(steady(said), left);
        }
    }
}
