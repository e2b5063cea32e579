//! Why pods do not get ready, in words: looked up only while something does not run.

use std::{cmp::Reverse, collections::BTreeMap};

use futures_util::future::join_all;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        batch::v1::Job,
        core::v1::{ContainerStateTerminated, ContainerStatus, Pod},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{DynamicObject, Selector},
};

use super::{apply::Present, ask::ask, fetch::is_complete, kinds::ChildKind};
use crate::condition::shortened;

/// Pods of one workload that are looked at: the tenth says nothing that the first nine have not.
const PODS_MAX: usize = 10;
/// Pods that these are chosen from.
const LISTED_MAX: u32 = 200;
/// A message may be the end of a log; a condition is no place for more.
const WORDS_MAX: usize = 400;

/// What keeps workloads from running, by kind and name.
pub type Symptoms = BTreeMap<(ChildKind, String), String>;

/// Looks at the pods of every Deployment that is not available and of every Job that has not completed. A look that fails is no error
/// of the pipeline's.
pub async fn symptoms(client: &Client, namespace: &str, present: &Present) -> Symptoms {
    let ailing = present.iter().filter_map(|((kind, name), object)| {
        let selector = selector_of_ailing(*kind, object)?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        Some(async move {
            let words = words_about(*kind, name, object, &pods, &selector).await?;
            Some(((*kind, name.clone()), said(&words)))
        })
    });
    // All at once: several that do not answer hold up the status no longer than one.
    join_all(ailing).await.into_iter().flatten().collect()
}

async fn words_about(
    kind: ChildKind,
    name: &str,
    object: &DynamicObject,
    pods: &Api<Pod>,
    selector: &Selector,
) -> Option<String> {
    let pods = match pods.list(&ListParams::default().labels_from(selector).limit(LISTED_MAX)).await {
        Ok(pods) => telling(pods.items),
        Err(error) => {
            tracing::debug!(%error, %kind, name, "its pods cannot be looked at");
            return None;
        }
    };
    let mut words = pods.iter().find_map(words_of);
    if words.is_none() && kind == ChildKind::Deployment {
        words = ask(&pods).await;
    }
    words.or_else(|| words_of_deployment(kind, object))
}

/// The pods that have something to tell: those that are not ready, the youngest first.
fn telling(mut pods: Vec<Pod>) -> Vec<Pod> {
    pods.sort_by_cached_key(|pod| (is_ready(pod), Reverse(pod.creation_timestamp().map(|time| time.0))));
    pods.truncate(PODS_MAX);
    pods
}

fn selector_of_ailing(kind: ChildKind, object: &DynamicObject) -> Option<Selector> {
    let selector: LabelSelector = match kind {
        ChildKind::Deployment => {
            let deployment = object.clone().try_parse::<Deployment>().ok()?;
            let (spec, status) = (deployment.spec?, deployment.status.unwrap_or_default());
            if status.ready_replicas.unwrap_or(0) >= spec.replicas.unwrap_or(1)
                && status.updated_replicas.unwrap_or(0) >= spec.replicas.unwrap_or(1)
            {
                return None;
            }
            spec.selector
        }
        ChildKind::Job if !is_complete(object) => object.clone().try_parse::<Job>().ok()?.spec?.selector?,
        _ => return None,
    };
    Selector::try_from(selector).ok()
}

/// What the Deployment itself says: a quota that allows no more pods, a rollout that takes too long.
fn words_of_deployment(kind: ChildKind, object: &DynamicObject) -> Option<String> {
    if kind != ChildKind::Deployment {
        return None;
    }
    let status = object.clone().try_parse::<Deployment>().ok()?.status?;
    let says = |type_: &str, value: &str, reason: Option<&str>| {
        let conditions = status.conditions.iter().flatten();
        let mut fitting = conditions.filter(|condition| {
            condition.type_ == type_
                && condition.status == value
                && (reason.is_none() || condition.reason.as_deref() == reason)
        });
        fitting.find_map(|condition| condition.message.clone())
    };
    says("ReplicaFailure", "True", None).or_else(|| says("Progressing", "False", Some("ProgressDeadlineExceeded")))
}

/// What is wrong with a pod, as Kubernetes knows it.
fn words_of(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        return Some(format!("pod {name} finds no node: {}", condition.message.as_deref().unwrap_or("Unschedulable")));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers
        .filter(|container| !container.ready)
        .find_map(words_of_container)
        .map(|words| format!("pod {name}: {words}"))
}

fn words_of_container(container: &ContainerStatus) -> Option<String> {
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let state = container.state.as_ref()?;
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0);
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        // These pass by themselves within seconds.
        if ["ContainerCreating", "PodInitializing"].contains(&reason) {
            return None;
        }
        let message = last.map(words_of_end).or_else(|| waiting.message.as_deref().map(|said| said.trim().to_owned()));
        return Some(message.map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")));
    }
    // One that runs again says itself what it lacks; that it had too little memory it does not know.
    let counts = |last: &&ContainerStateTerminated| {
        last.exit_code != 0 && (state.running.is_none() || last.reason.as_deref() == Some("OOMKilled"))
    };
    ended.or(last.filter(counts)).map(words_of_end)
}

/// Why a container ended. Its message is the end of its log, where the error stands last.
fn words_of_end(ended: &ContainerStateTerminated) -> String {
    // `Error` says no more than the code does.
    let reason = ended.reason.as_deref().filter(|reason| *reason != "Error");
    let reason = reason.map(|reason| format!("{reason}, ")).unwrap_or_default();
    let message = ended.message.as_deref().unwrap_or_default();
    let last = message.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let last = last.map(|line| format!(": {line}")).unwrap_or_default();
    format!("{reason}ended with code {}{last}", ended.exit_code)
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn said(words: &str) -> String {
    shortened(&words.split_whitespace().collect::<Vec<_>>().join(" "), WORDS_MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "core-alerter-1"}, "status": status})).unwrap()
    }

    fn container(state: &Value, last: &Value) -> Value {
        json!({"containerStatuses": [{"name": "mutt", "image": "i", "imageID": "", "restartCount": 1, "ready": false, "state": state, "lastState": last}]})
    }

    #[test]
    fn pods_say_why_they_do_not_run() {
        let ended = |message: &str| json!({"terminated": {"exitCode": 1, "message": message, "reason": "Error"}});
        let log = format!("{}\n{{\"error\": \"no such host\"}}\n\n", "a line before\n".repeat(100));
        let cases = [
            (
                json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}),
                Some("pod core-alerter-1 finds no node: 0/3 nodes"),
            ),
            (
                container(&json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}), &json!({})),
                Some("pod core-alerter-1: ImagePullBackOff: no such image"),
            ),
            (
                container(
                    &json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
                    &ended("no Redis\n"),
                ),
                Some("pod core-alerter-1: CrashLoopBackOff: ended with code 1: no Redis"),
            ),
            (
                container(&ended(&log), &json!({})),
                Some(r#"pod core-alerter-1: ended with code 1: {"error": "no such host"}"#),
            ),
            (
                container(
                    &json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
                    &json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
                ),
                Some("pod core-alerter-1: CrashLoopBackOff: OOMKilled, ended with code 137"),
            ),
            (
                container(&json!({"running": {}}), &json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
                Some("pod core-alerter-1: OOMKilled, ended with code 137"),
            ),
            (
                container(&ended("password authentication failed"), &json!({})),
                Some("pod core-alerter-1: ended with code 1: password authentication failed"),
            ),
            (container(&json!({"waiting": {"reason": "ContainerCreating"}}), &json!({})), None),
            (container(&json!({"running": {}}), &json!({})), None),
        ];
        for (status, words) in cases {
            assert_eq!(words_of(&pod(&status)).as_deref(), words, "{status}");
        }
    }

    #[test]
    fn of_many_pods_those_that_are_not_ready_tell() {
        let pod = |number: usize, ready: &str| -> Pod {
            let created = format!("2026-01-01T00:00:{number:02}Z");
            serde_json::from_value(json!({
                "metadata": {"name": format!("core-alerter-{number}"), "creationTimestamp": created},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap()
        };
        let mut pods: Vec<_> = (0..30).map(|number| pod(number, "True")).collect();
        pods[20] = pod(20, "False");
        pods[25] = pod(25, "False");
        let names: Vec<_> = telling(pods).iter().map(ResourceExt::name_any).collect();
        assert_eq!(names.len(), PODS_MAX);
        assert_eq!(names[..3], ["core-alerter-25", "core-alerter-20", "core-alerter-29"]);
    }
}
