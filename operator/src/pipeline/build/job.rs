//! The Job that brings the schema of the audit trail to the image's version.

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::{Affinity, PodTemplateSpec},
};
use mutt_crds::pipeline::PodOverrides;
use mutt_rules::hex;
use sha2::{Digest, Sha256};

use super::{files::Files, labels::metadata, pod::Worker, settings};
use crate::pipeline::resolve::{Component, Resolved, measured_need};

/// It is tried until it succeeds, with the kubelet's growing delays (at most 5 minutes): a database that is away or a password that is
/// wrong for a day heals without anyone touching the Job.
const RETRIES: i32 = i32::MAX;
/// Bytes of the hash in the name.
const HASH_BYTES: usize = 4;

/// A Job's template cannot be changed, so its name is made from it: other settings, other Job. Migrations are safe to repeat.
pub(super) fn migration(pipeline: &Resolved) -> Job {
    let spec = JobSpec {
        backoff_limit: Some(RETRIES),
        template: database_pod(pipeline, &["db", "migrate"], settings::of_migration(pipeline)),
        ..JobSpec::default()
    };
    let name = format!("{}-{}", Component::Database.child_name(&pipeline.name), hash(&spec));
    Job { metadata: metadata(pipeline, name, Some(Component::Database)), spec: Some(spec), ..Job::default() }
}

/// A pod that runs `mutt db …` to its end, where alerters may run.
pub(super) fn database_pod(pipeline: &Resolved, args: &[&str], files: Files) -> PodTemplateSpec {
    let worker = Worker {
        component: Component::Database,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        files,
        resources: measured_need(Component::Database),
    };
    let alerter = &pipeline.alerter.role.pod;
    let placement = PodOverrides {
        node_selector: alerter.node_selector.clone(),
        tolerations: alerter.tolerations.clone(),
        affinity: alerter.affinity.clone().and_then(to_nodes),
        priority_class_name: alerter.priority_class_name.clone(),
        ..PodOverrides::default()
    };
    worker.pod(pipeline, &placement, |pod, _| pod.restart_policy = Some("OnFailure".to_owned()))
}

/// Affinity between pods speaks of alerters.
fn to_nodes(affinity: Affinity) -> Option<Affinity> {
    affinity.node_affinity.map(|node_affinity| Affinity { node_affinity: Some(node_affinity), ..Affinity::default() })
}

fn hash(spec: &JobSpec) -> String {
    let text = serde_json::to_vec(spec).unwrap_or_else(|_| unreachable!("maps have text keys"));
    hex(&Sha256::digest(text)[..HASH_BYTES])
}
