//! The pipelines, watched by every replica for itself.

use std::{collections::HashSet, pin::pin};

use futures_util::{Stream, StreamExt, stream};
use kube::{
    Api, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use mutt_crds::MuttPipeline;

use super::Queues;
use crate::{
    rules::PipelineKey,
    runtime::scope::{api_in, scopes},
};

/// One that cannot be read must not end the watch of all others.
type Stored = DeserializeGuard<MuttPipeline>;

/// Tells `queues` of every pipeline that comes, changes or goes.
pub(super) async fn follow(queues: &Queues) {
    let scopes = scopes(&queues.0.namespaces);
    let watches = scopes.iter().enumerate().map(|(number, scope)| {
        watch(api_in(queues.0.client.clone(), scope.as_deref())).map(move |event| (number, event)).boxed()
    });
    let mut events = pin!(stream::select_all(watches));
    let mut listed: Vec<HashSet<PipelineKey>> = vec![HashSet::new(); scopes.len()];
    let mut is_cut = vec![false; scopes.len()];
    while let Some((number, event)) = events.next().await {
        let (scope, listed) = (&scopes[number], &mut listed[number]);
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pipeline)) => {
                listed.insert(key_of(&pipeline));
                see(queues, pipeline);
            }
            Ok(Event::InitDone) => {
                forget_others(queues, scope.as_deref(), listed);
                queues.lock().unlisted.remove(scope);
            }
            Ok(Event::Apply(pipeline)) => see(queues, pipeline),
            Ok(Event::Delete(pipeline)) => queues.gone(&key_of(&pipeline)),
            Err(error) => {
                if !std::mem::replace(&mut is_cut[number], true) {
                    tracing::warn!(%error, "MuttPipelines cannot be watched for their queues; tried again and again");
                }
                if let Some(why) = queues.lock().unlisted.get_mut(scope) {
                    *why = error.to_string();
                }
                continue;
            }
        }
        is_cut[number] = false;
    }
}

fn watch(api: Api<Stored>) -> impl Stream<Item = Result<Event<Stored>, watcher::Error>> + Send {
    watcher(api, watcher::Config::default()).default_backoff()
}

fn key_of(pipeline: &Stored) -> PipelineKey {
    PipelineKey::new(pipeline.namespace().unwrap_or_default(), pipeline.name_any())
}

fn see(queues: &Queues, pipeline: Stored) {
    let (key, uid) = (key_of(&pipeline), pipeline.uid().unwrap_or_default());
    let redis = match pipeline.0 {
        Ok(pipeline) => Ok(pipeline.spec.redis),
        Err(invalid) => Err(format!("the object cannot be read: {}", invalid.error)),
    };
    queues.seen(key, uid, redis);
}

/// What has vanished while the watch was cut.
fn forget_others(queues: &Queues, scope: Option<&str>, listed: &HashSet<PipelineKey>) {
    let known: Vec<PipelineKey> = queues.lock().pipelines.keys().cloned().collect();
    let is_in = |key: &&PipelineKey| scope.is_none_or(|namespace| key.namespace == namespace);
    for key in known.iter().filter(is_in).filter(|key| !listed.contains(key)) {
        queues.gone(key);
    }
}
