//! Writing a status, if it says something new.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use mutt_crds::{MuttPipeline, MuttPipelineStatus};
use serde_json::json;

use crate::pipeline::{error::Error, mirror::Answer};

/// Field manager of the status.
const STATUS_MANAGER: &str = "mutt-operator-status";

/// What was written last, by the pipeline's UID: the watch may not have seen it yet.
#[derive(Default)]
pub struct Written(Mutex<HashMap<String, (Answer, MuttPipelineStatus)>>);

impl Written {
    /// The status that the pipeline has now.
    pub fn current(&self, pipeline: &MuttPipeline) -> Option<MuttPipelineStatus> {
        let uid = pipeline.uid().unwrap_or_default();
        match self.lock().get(&uid) {
            Some((answer, status)) if answer.is_newer_than(&pipeline.metadata) => Some(status.clone()),
            _ => pipeline.status.clone(),
        }
    }

    /// Writes `status` unless it is there already. Returns whether it did.
    pub async fn write(
        &self,
        client: &Client,
        pipeline: &MuttPipeline,
        status: MuttPipelineStatus,
    ) -> Result<bool, Error> {
        if self.current(pipeline).as_ref() == Some(&status) {
            return Ok(false);
        }
        let api: Api<MuttPipeline> = Api::namespaced(client.clone(), &pipeline.namespace().unwrap_or_default());
        let patch = json!({
            "apiVersion": MuttPipeline::api_version(&()),
            "kind": MuttPipeline::kind(&()),
            // With the UID: never the status of one pipeline on another of its name.
            "metadata": {"name": pipeline.name_any(), "uid": pipeline.uid()},
            "status": status,
        });
        let params = PatchParams::apply(STATUS_MANAGER).force();
        let answer = match api.patch_status(&pipeline.name_any(), &params, &Patch::Apply(&patch)).await {
            Ok(answer) => answer,
            // It was deleted meanwhile; there is nobody to tell.
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(false),
            Err(error) => return Err(Error::status(&error)),
        };
        self.lock().insert(pipeline.uid().unwrap_or_default(), (Answer::new(&answer.metadata), status));
        Ok(true)
    }

    /// The pipeline is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Answer, MuttPipelineStatus)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
