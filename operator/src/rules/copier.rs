//! Keeps the readable copy in ConfigMaps: some seconds after a change, and at once where somebody changed or deleted one.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use mutt_rules::{Object, Rule, parse_documents};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::copy::{Shard, content_hash, shards};
use super::index::PipelineSet;
use super::record::{FIELD_MANAGER, Owner, RULES_OF};
use super::redis::Trouble;

/// Pause after the last change: who applies a thousand rules gets one copy.
const QUIET: Duration = Duration::from_secs(10);
/// Longest wait while changes go on.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Hash of the data, so that a copy is known to be right from its metadata.
const CONTENT_HASH: &str = "mutt.dev/content-hash";
const COMPONENT: &str = "rules-copy";

/// ConfigMaps as seen or written last: resourceVersion by name; and what keeps one from being written.
#[derive(Debug, Default)]
struct Versions(Mutex<HashMap<String, String>>, Mutex<Option<Trouble>>);

impl Versions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, trouble: Option<Trouble>) {
        *self.trouble() = trouble;
    }
}

/// The task that keeps the copy.
pub(super) struct Copier {
    api: Api<ConfigMap>,
    owner: Owner,
    sets: watch::Receiver<Option<Arc<PipelineSet>>>,
    tampered: Arc<Notify>,
    seen: Arc<Versions>,
}

/// Tells the copier what was seen of its ConfigMaps.
#[derive(Clone)]
pub(super) struct CopierHandle {
    tampered: Arc<Notify>,
    seen: Arc<Versions>,
}

/// Why the copy cannot be written.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(
        "the ConfigMap {0} exists and is not the operator's; delete or rename it: the readable copy of the rules goes there"
    )]
    Foreign(String),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl CopierHandle {
    /// What needs a person.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.seen.trouble().clone()
    }

    /// A ConfigMap was seen with this resourceVersion, or is gone.
    pub(super) fn seen(&self, name: &str, resource_version: Option<&str>) {
        if self.seen.lock().get(name).is_some_and(|known| Some(known.as_str()) != resource_version) {
            self.tampered.notify_one();
        }
    }
}

impl Copier {
    /// A copier of the sets that come through `sets`.
    pub(super) fn new(
        client: &Client,
        owner: Owner,
        sets: watch::Receiver<Option<Arc<PipelineSet>>>,
    ) -> (Self, CopierHandle) {
        let handle = CopierHandle { tampered: Arc::default(), seen: Arc::default() };
        let (tampered, seen) = (Arc::clone(&handle.tampered), Arc::clone(&handle.seen));
        let api = Api::namespaced(client.clone(), &owner.key.namespace);
        (Self { api, owner, sets, tampered, seen }, handle)
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) -> Infallible {
        let mut pause = RETRY.0;
        'sets: loop {
            tokio::select! {
                changed = self.sets.changed() => match changed {
                    Ok(()) => self.quiet().await,
                    Err(_) => return std::future::pending().await,
                },
                () = self.tampered.notified() => {}
            }
            let Some(set) = self.sets.borrow_and_update().clone() else { continue };
            while let Err(error) = self.write(&set).await {
                // Anything else passes by itself.
                let trouble = matches!(error, CopyError::Foreign(_)).then(|| Trouble::Cluster(error.to_string()));
                self.seen.say(trouble);
                tracing::warn!(%error, pipeline = %self.owner.key, "the readable copy of the rules cannot be written");
                // A newer set is written after this pause, too.
                sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
                if self.sets.has_changed().unwrap_or(false) {
                    continue 'sets;
                }
            }
            self.seen.say(None);
            pause = RETRY.0;
        }
    }

    async fn quiet(&mut self) {
        let until = Instant::now() + QUIET_MAX;
        while Instant::now() < until {
            match timeout(QUIET, self.sets.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    /// Creates and updates first and deletes what is too many last: each rule is in some shard at any time.
    async fn write(&self, set: &PipelineSet) -> Result<(), CopyError> {
        let mut there = self.there().await?;
        let prefix = format!("{}-rules-", self.owner.key.name);
        let numbered = |name: &String| name.strip_prefix(&prefix)?.parse::<usize>().ok();
        let shards_min = there.keys().filter_map(numbered).max().map_or(1, |number| number + 1);
        let mut wanted: Vec<(String, Shard)> = shards(&self.owner.key, set, shards_min)
            .into_iter()
            .map(|(suffix, shard)| (format!("{prefix}{suffix}"), shard))
            .collect();
        wanted.sort_by_key(|(name, _)| there.contains_key(name));
        for (name, shard) in wanted {
            let hash = content_hash(&shard);
            let is_there = there.contains_key(&name);
            let right = there.remove(&name).filter(|known| self.is_right(&name, known, &hash));
            let version = match right {
                Some(known) => known.resource_version,
                None => self.apply(&name, shard, hash, is_there).await?,
            };
            self.note(name, version);
        }
        for name in there.into_keys() {
            self.seen.lock().remove(&name);
            match self.api.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                result => drop(result?),
            }
        }
        Ok(())
    }

    async fn there(&self) -> Result<BTreeMap<String, Known>, kube::Error> {
        let selector = format!("{RULES_OF}={},app.kubernetes.io/component={COMPONENT}", self.owner.key.name);
        let listed = self.api.list_metadata(&ListParams::default().labels(&selector)).await?;
        let known = |object: kube::core::PartialObjectMeta<ConfigMap>| {
            let owners = object.metadata.owner_references.iter().flatten();
            let known = Known {
                hash: object.annotations().get(CONTENT_HASH).cloned(),
                resource_version: object.resource_version().unwrap_or_default(),
                is_ours: owners.into_iter().any(|owner| owner.uid == self.owner.uid),
            };
            (object.name_any(), known)
        };
        Ok(listed.items.into_iter().map(known).collect())
    }

    /// Ours, with the right content, and not changed by somebody else since it was written.
    fn is_right(&self, name: &str, known: &Known, hash: &str) -> bool {
        let untouched = self.seen.lock().get(name).is_none_or(|version| *version == known.resource_version);
        known.is_ours && known.hash.as_deref() == Some(hash) && untouched
    }

    fn note(&self, name: String, version: String) {
        self.seen.lock().insert(name, version);
    }

    /// One that does not carry our labels is somebody else's, or was stripped of them: only the latter is taken back.
    async fn apply(&self, name: &str, shard: Shard, hash: String, is_there: bool) -> Result<String, CopyError> {
        let mut metadata = self.owner.metadata(name.to_owned(), COMPONENT);
        metadata.annotations = Some(BTreeMap::from([(CONTENT_HASH.to_owned(), hash)]));
        let object = ConfigMap { metadata, data: Some(shard), ..ConfigMap::default() };
        let found = if is_there { None } else { self.api.get_metadata_opt(name).await? };
        let written = match found {
            Some(found) if !self.owner.may_take(&found.metadata) => return Err(CopyError::Foreign(name.to_owned())),
            // Fails where somebody else is faster.
            None if !is_there => {
                let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                self.api.create(&parameters, &object).await?
            }
            Some(_) | None => {
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                self.api.patch(name, &parameters, &Patch::Apply(&object)).await?
            }
        };
        Ok(written.resource_version().unwrap_or_default())
    }
}

struct Known {
    hash: Option<String>,
    resource_version: String,
    is_ours: bool,
}

/// The rules that the copy holds: where Redis has lost them, the last good forms come from here.
pub(super) async fn read_copy(client: &Client, owner: &Owner) -> Result<Vec<Rule>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &owner.key.namespace);
    let selector = format!("{RULES_OF}={},app.kubernetes.io/component={COMPONENT}", owner.key.name);
    let listed = api.list(&ListParams::default().labels(&selector)).await?;
    let texts = listed.items.into_iter().filter_map(|object| object.data).flat_map(BTreeMap::into_values);
    let documents = texts.flat_map(|text| parse_documents(&text, "copy").unwrap_or_else(|faults| faults.good));
    Ok(documents
        .filter_map(|document| match document.object {
            Object::AlertRule(rule) => Some(Rule::from(*rule)),
            Object::MuttPipeline(_) => None,
        })
        .collect())
}
