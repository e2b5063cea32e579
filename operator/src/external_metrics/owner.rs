//! The ClusterRole that owns what the operator makes for the API: with the installation, the garbage collector takes it away.

use k8s_openapi::{api::rbac::v1::ClusterRole, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Api, Client, Resource};

use crate::pipeline::error::in_words;

/// A reference to the ClusterRole; `Err` = why what it is to own cannot be made, in words.
pub(super) async fn owner(client: &Client, name: &str) -> Result<OwnerReference, String> {
    let cannot = |why: &str| format!("cannot be made: its owner, the ClusterRole {name}, {why}");
    let api: Api<ClusterRole> = Api::all(client.clone());
    let found = api.get_metadata_opt(name).await;
    let role = found.map_err(|error| cannot(&format!("cannot be read: {}", in_words(&error))))?;
    let role = role.filter(|role| role.metadata.deletion_timestamp.is_none());
    // Neither controller nor blocking: nothing of it waits for us, and no right to set finalizers is needed.
    role.and_then(|role| role.owner_ref(&())).ok_or_else(|| cannot("is not there"))
}
