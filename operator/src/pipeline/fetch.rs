//! Step 1: what a pipeline refers to. Secrets by name, the state of its Jobs, its rules, and whether another pipeline has its keys.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::batch::v1::Job;
use kube::{ResourceExt, core::DynamicObject, runtime::reflector::Store};
use mutt_crds::MuttPipeline;

use super::{
    Pipelines,
    error::{Class, Error},
    kinds::ChildKind,
    resolve::{Fetched, may_scale_to_zero, secrets_of},
    secrets::Found,
    watch::Stored,
};
use crate::{
    rules::{
        RulesState,
        keyspace::{Keyspace, Turn},
    },
    runtime::Args,
};

/// Port of the operator's Service of health, metrics and queues, as in the chart.
const SERVICE_PORT: u16 = 8080;

/// What is known of a pipeline's surroundings.
pub struct Surroundings {
    /// What resolve looks at.
    pub fetched: Fetched,
    /// What the other half of the operator knows.
    pub rules: Option<Arc<RulesState>>,
    /// What keeps the pipeline from being looked at any further.
    pub errors: Vec<Error>,
}

/// Brings it together. Nothing here fails as a whole: what could not be read is among the errors.
pub async fn fetch(this: &Pipelines, pipeline: &MuttPipeline) -> Surroundings {
    let (namespace, uid) = (pipeline.namespace().unwrap_or_default(), pipeline.uid().unwrap_or_default());
    let names = secrets_of(&pipeline.spec);
    let found = this.secrets.read(&this.context.client, &namespace, &names).await;
    let mut errors: Vec<Error> = unread(&found).collect();
    errors.extend(rival(&this.stored, pipeline));
    let secrets = found.into_iter().filter_map(|(name, found)| match found {
        Found::Keys(keys) => Some((name, keys)),
        Found::Missing | Found::Unread(..) => None,
    });
    let jobs = this.live.owned_by(&uid).into_iter().filter(|(kind, _)| *kind == ChildKind::Job);
    let fetched = Fetched {
        secrets: secrets.collect(),
        completed_jobs: jobs.filter(|(_, job)| is_complete(job)).map(|(_, job)| job.name_any()).collect(),
        served: this.context.apis.served(),
        external_metrics: this.context.external_metrics.standing(),
        operator_url: operator_url(&this.context.args),
        scale_to_zero: scale_to_zero(this, pipeline, &namespace, &uid).await,
        worker_image: this.context.args.worker_image.clone(),
        runbook_base_url: this.context.args.runbook_base_url.clone(),
        operator_namespace: this.context.args.pod_namespace.clone(),
    };
    Surroundings { fetched, rules: this.context.rules.get(&namespace, &pipeline.name_any(), &uid), errors }
}

/// Whether a HorizontalPodAutoscaler may have no pods; only asked where that may be wanted. One that may already proves it.
async fn scale_to_zero(this: &Pipelines, pipeline: &MuttPipeline, namespace: &str, uid: &str) -> Option<bool> {
    if !may_scale_to_zero(&pipeline.spec) {
        return Some(false);
    }
    let asked = this.scale_to_zero.is_served(&this.context.client, namespace).await;
    let proof = |(kind, object): &(ChildKind, Arc<DynamicObject>)| {
        *kind == ChildKind::HorizontalPodAutoscaler && object.data["spec"]["minReplicas"] == 0
    };
    asked.or_else(|| this.live.owned_by(uid).iter().any(proof).then_some(true))
}

/// Where KEDA, which runs in another namespace, asks for queues.
fn operator_url(args: &Args) -> Option<String> {
    let (service, namespace) = (args.service.as_ref()?, args.pod_namespace.as_ref()?);
    Some(format!("http://{service}.{namespace}.svc:{SERVICE_PORT}"))
}

fn unread(found: &BTreeMap<String, Found>) -> impl Iterator<Item = Error> {
    found.iter().filter_map(|(name, found)| match found {
        Found::Unread(why, class) => {
            let class = if *class == Class::Bug { Class::Transient } else { *class };
            Some(Error::SecretUnread { name: name.clone(), why: why.clone(), class })
        }
        Found::Keys(_) | Found::Missing => None,
    })
}

/// Whether a Job has done what it is for.
pub(super) fn is_complete(job: &DynamicObject) -> bool {
    let Ok(job) = job.clone().try_parse::<Job>() else { return false };
    let conditions = job.status.and_then(|status| status.conditions).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Complete" && condition.status == "True")
}

/// An older pipeline with the same keys in the same Redis. The older one goes on as if nothing were: another namespace's newcomer must
/// not be able to disturb it.
fn rival(stored: &Store<Stored>, pipeline: &MuttPipeline) -> Option<Error> {
    let (keyspace, turn) = (Keyspace::of(&pipeline.spec.redis), Turn::of(&pipeline.metadata));
    let older = |other: &Stored| {
        other
            .0
            .as_ref()
            .is_ok_and(|other| Turn::of(&other.metadata) < turn && Keyspace::of(&other.spec.redis) == keyspace)
    };
    let other = stored.find(older)?;
    let other = format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any());
    Some(Error::KeyPrefixInUse { other, prefix: pipeline.spec.redis.key_prefix.clone() })
}
