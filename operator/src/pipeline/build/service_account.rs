//! The ServiceAccount of all pods. They never call the API server, so it has no rights and its token is not mounted; it is there
//! for policies and for the image's pull secrets, which the pods name themselves.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::labels::metadata;
use crate::pipeline::resolve::Resolved;

/// Its name.
pub(super) fn name(pipeline: &Resolved) -> String {
    format!("{}-worker", pipeline.name)
}

pub(super) fn service_account(pipeline: &Resolved) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(pipeline, name(pipeline), None),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
