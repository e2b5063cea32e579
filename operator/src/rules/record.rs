//! The ConfigMap `<pipeline>-rules`: the sequence number and hash of what Redis should serve, written before Redis under
//! its resourceVersion, so that of two operators one is refused.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use mutt_crds::MuttPipeline;

use super::board::PipelineKey;

/// Label of the ConfigMaps of this half: the pipeline whose rules they hold. The pipeline half removes as orphans only what
/// carries its own label, which these do not.
pub(super) const RULES_OF: &str = "mutt.dev/rules-of";
/// Field manager of what is applied here.
pub(super) const FIELD_MANAGER: &str = "mutt-operator";

/// A pipeline as the owner of ConfigMaps.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    /// Namespace and name.
    pub(super) key: PipelineKey,
    /// Its UID.
    pub(super) uid: String,
}

impl Owner {
    /// Metadata of one of its ConfigMaps; `component` is `rules` or `rules-copy`.
    pub(super) fn metadata(&self, name: String, component: &str) -> ObjectMeta {
        let labels = [
            ("app.kubernetes.io/name", "mutt"),
            ("app.kubernetes.io/instance", &self.key.name),
            ("app.kubernetes.io/component", component),
            ("app.kubernetes.io/managed-by", "mutt-operator"),
            ("app.kubernetes.io/part-of", "mutt"),
            (RULES_OF, &self.key.name),
        ];
        let owner = OwnerReference {
            api_version: MuttPipeline::api_version(&()).into_owned(),
            kind: MuttPipeline::kind(&()).into_owned(),
            name: self.key.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.key.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }

    /// Whether an object is this pipeline's, or nobody's any more: one of an earlier pipeline of this name.
    pub(super) fn may_take(&self, metadata: &ObjectMeta) -> bool {
        let owners = metadata.owner_references.as_deref().unwrap_or_default();
        let is_ours = owners.iter().any(|owner| owner.uid == self.uid);
        let is_rules = metadata.labels.as_ref().is_some_and(|labels| labels.get(RULES_OF) == Some(&self.key.name));
        is_ours || is_rules
    }
}

/// Why the record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// Somebody wrote it meanwhile; read it again.
    #[error("somebody else wrote it at the same time")]
    Conflict,
    /// It belongs to somebody else.
    #[error("the ConfigMap {0} exists and is not the operator's; delete or rename it")]
    Foreign(String),
    /// The API server.
    #[error("the ConfigMap {name}: {source}")]
    Api {
        /// Its name.
        name: String,
        /// What the API server says.
        source: kube::Error,
    },
}

/// The record as read or written last.
pub(super) struct Record {
    api: Api<ConfigMap>,
    owner: Owner,
    seen: Option<ConfigMap>,
}

impl Record {
    /// Reads it.
    pub(super) async fn read(client: &Client, owner: &Owner) -> Result<Self, RecordError> {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &owner.key.namespace);
        let mut record = Self { api, owner: owner.clone(), seen: None };
        record.seen = record.api.get_opt(&record.name()).await.map_err(|source| record.failed(source))?;
        match &record.seen {
            Some(seen) if !owner.may_take(&seen.metadata) => Err(RecordError::Foreign(record.name())),
            _ => Ok(record),
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        format!("{}-rules", self.owner.key.name)
    }

    fn failed(&self, source: kube::Error) -> RecordError {
        match &source {
            // Written (409) or deleted (404) since it was read, or not written yet when it was.
            kube::Error::Api(status) if matches!(status.code, 404 | 409) => RecordError::Conflict,
            _ => RecordError::Api { name: self.name(), source },
        }
    }

    /// Whether it is being deleted.
    pub(super) fn is_leaving(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.metadata.deletion_timestamp.is_some())
    }

    /// The version that was read or written last; none where it does not exist.
    pub(super) fn resource_version(&self) -> Option<&str> {
        self.seen.as_ref()?.metadata.resource_version.as_deref()
    }

    /// Sequence number and hash; none before the first publication.
    pub(super) fn content(&self) -> Option<(u64, &str)> {
        let data = self.seen.as_ref()?.data.as_ref()?;
        Some((data.get("seq")?.parse().ok()?, data.get("hash")?))
    }

    /// Writes it, if nobody else did since it was read.
    pub(super) async fn write(&mut self, sequence: u64, hash: &str) -> Result<(), RecordError> {
        let data = BTreeMap::from([("seq".to_owned(), sequence.to_string()), ("hash".to_owned(), hash.to_owned())]);
        let mut metadata = self.owner.metadata(self.name(), "rules");
        let written = match &self.seen {
            None => {
                let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                let object = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
                self.api.create(&parameters, &object).await
            }
            Some(seen) => {
                metadata.resource_version.clone_from(&seen.metadata.resource_version);
                let object = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                self.api.patch(&self.name(), &parameters, &Patch::Apply(&object)).await
            }
        };
        self.seen = Some(written.map_err(|source| self.failed(source))?);
        Ok(())
    }
}
