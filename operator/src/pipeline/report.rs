//! What is told about a reconcile when it has ended: metrics, Events, log. Nothing of this stands inside the steps.

use std::{convert::Infallible, sync::Arc};

use kube::{
    Resource, ResourceExt,
    runtime::{
        controller::{Action, Error as ControllerError},
        reflector::ObjectRef,
    },
};
use mutt_crds::MuttPipelineStatus;

use super::{
    CONTROLLER, Done, Pipelines,
    error::{Class, Error, Failure},
    reconcile,
    watch::Stored,
};
use crate::runtime::metrics::Outcome;

/// A reconcile, and what is told about it.
pub(super) async fn reported(stored: Arc<Stored>, this: Arc<Pipelines>) -> Result<Action, Failure> {
    // Its children go with it: they are not to be made again.
    if stored.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let pass = this.context.reconciling(CONTROLLER);
    let outcome = match &stored.0 {
        Ok(pipeline) => reconcile(&this, pipeline).await,
        Err(invalid) => {
            this.ask_for_metrics_of_unreadable(stored.meta());
            Err(Error::Unreadable(invalid.error.clone()).into())
        }
    };
    match outcome {
        Ok(done) => {
            this.retries.forget(&stored.uid().unwrap_or_default());
            pass.end(if done.wrote { Outcome::Changed } else { Outcome::Unchanged });
            tell(&this, &stored, &done).await;
            Ok(done.next())
        }
        Err(failure) => {
            pass.end(Outcome::Error);
            warn(&this, &stored, &failure).await;
            Err(failure)
        }
    }
}

/// A pipeline that has come to run is worth an Event; so is what its owner should know.
async fn tell(this: &Pipelines, stored: &Stored, done: &Done) {
    let is_ready = |status: &MuttPipelineStatus| {
        status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let object = stored.object_ref(&());
    if is_ready(&done.status) && !done.before.as_ref().is_some_and(is_ready) {
        this.context.events.normal(&object, "Ready", "Reconcile", "every role runs").await;
    }
    let degraded = done.status.conditions.iter().find(|condition| condition.type_ == "Degraded");
    if let Some(condition) = degraded.filter(|condition| condition.status == "True" || condition.reason != "AsExpected")
    {
        this.context.events.warning(&object, &condition.reason, "Reconcile", &condition.message).await;
    }
}

async fn warn(this: &Pipelines, stored: &Stored, failure: &Failure) {
    let object = stored.object_ref(&());
    for error in &failure.errors {
        // Two writers at the same moment are no news for anybody.
        if error.class() != Class::Conflict {
            this.context.events.warning(&object, &error.reason(), "Reconcile", &error.to_string()).await;
        }
    }
}

/// The log of all reconciles.
pub(super) async fn log(ended: Result<(ObjectRef<Stored>, Action), ControllerError<Failure, Infallible>>) {
    match ended {
        Ok((pipeline, _)) => tracing::debug!(%pipeline, "reconciled"),
        Err(ControllerError::ReconcilerFailed(failure, pipeline)) => {
            tracing::warn!(%pipeline, class = ?failure.class(), %failure, "cannot be reconciled");
        }
        // A child of a pipeline that is gone was deleted.
        Err(ControllerError::ObjectNotFound(_)) => {}
        Err(error) => tracing::error!(%error, "the controller has failed"),
    }
}
