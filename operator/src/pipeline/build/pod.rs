//! A pod of one worker container, restricted as `pod-security.kubernetes.io/enforce: restricted` and OpenShift's restricted-v2 ask.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, EnvVar, LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec,
        ResourceRequirements, SeccompProfile, SecurityContext, Volume,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use mutt_crds::pipeline::{ExtraVolume, PodOverrides};

use super::{files::Files, labels::labels, service_account};
use crate::pipeline::resolve::{Component, Resolved};

/// OpenShift then admits the pod under this SCC or not at all, whatever else its account may use.
const REQUIRED_SCC: (&str, &str) = ("openshift.io/required-scc", "restricted-v2");

/// What runs in the pod.
pub(super) struct Worker {
    pub(super) component: Component,
    /// Arguments of `mutt`, the image's entry point.
    pub(super) args: Vec<String>,
    pub(super) files: Files,
    pub(super) resources: ResourceRequirements,
}

impl Worker {
    /// The pod; `adjust` adds what this kind of worker needs beside it.
    pub(super) fn pod(
        self,
        pipeline: &Resolved,
        overrides: &PodOverrides,
        adjust: impl FnOnce(&mut PodSpec, &mut Container),
    ) -> PodTemplateSpec {
        let component = self.component;
        let Files { env, mut volumes, mut mounts } = self.files;
        volumes.extend(overrides.extra_volumes.iter().map(extra_volume));
        mounts.extend(overrides.extra_volume_mounts.iter().cloned());
        let mut container = Container {
            name: component.word().to_owned(),
            image: Some(pipeline.image.name.clone()),
            image_pull_policy: pipeline.image.pull_policy.clone(),
            args: Some(self.args),
            env: Some(merged(env, &overrides.env)),
            resources: Some(self.resources),
            security_context: Some(restricted_container()),
            // Says in the pod's status why a process ended, since it writes that last.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            volume_mounts: Some(mounts),
            ..Container::default()
        };
        let mut spec = PodSpec {
            service_account_name: Some(service_account::name(pipeline)),
            automount_service_account_token: Some(false),
            // A Service called `redis` would otherwise set REDIS_PORT, which is a setting of ours.
            enable_service_links: Some(false),
            image_pull_secrets: not_empty(
                pipeline.image.pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() }).collect(),
            ),
            security_context: Some(restricted_pod()),
            node_selector: Some(overrides.node_selector.clone()).filter(|selector| !selector.is_empty()),
            tolerations: not_empty(overrides.tolerations.clone()),
            affinity: overrides.affinity.clone(),
            priority_class_name: overrides.priority_class_name.clone(),
            volumes: Some(volumes),
            ..PodSpec::default()
        };
        adjust(&mut spec, &mut container);
        spec.containers = vec![container];
        PodTemplateSpec { metadata: Some(pod_metadata(pipeline, component, overrides)), spec: Some(spec) }
    }
}

fn pod_metadata(pipeline: &Resolved, component: Component, overrides: &PodOverrides) -> ObjectMeta {
    let mut all_labels = overrides.labels.clone();
    all_labels.extend(labels(&pipeline.name, Some(component)));
    let (key, value) = REQUIRED_SCC;
    let mut annotations = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    annotations.extend(overrides.annotations.clone());
    ObjectMeta { labels: Some(all_labels), annotations: Some(annotations), ..ObjectMeta::default() }
}

/// The API server leaves empty lists out; so do we, or what we sent would never be what is there.
pub(super) fn not_empty<T>(items: Vec<T>) -> Option<Vec<T>> {
    Some(items).filter(|items| !items.is_empty())
}

/// An entry of the owner's takes the place of ours of the same name.
fn merged(own: Vec<EnvVar>, added: &[EnvVar]) -> Vec<EnvVar> {
    let replaced = |variable: &EnvVar| added.iter().any(|other| other.name == variable.name);
    own.into_iter().filter(|variable| !replaced(variable)).chain(added.iter().cloned()).collect()
}

fn extra_volume(extra: &ExtraVolume) -> Volume {
    let ExtraVolume { name, config_map, secret, empty_dir, persistent_volume_claim, csi } = extra.clone();
    Volume { name, config_map, secret, empty_dir, persistent_volume_claim, csi, ..Volume::default() }
}

/// No user and no group: the image's own does, and OpenShift gives any.
fn restricted_pod() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

fn restricted_container() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}
