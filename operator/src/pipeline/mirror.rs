//! What the watches see, in memory: the pipelines and all their children.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Debug,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Resource,
    core::{ApiResource, DynamicObject, ObjectMeta},
    runtime::{
        reflector::{ObjectRef, Store, store::Writer},
        watcher::Event,
    },
};

use super::kinds::ChildKind;

/// The objects of one kind out of several watches (one per namespace, or one for all) in one store.
///
/// kube's writer takes the first object of a new listing for the begin of the whole store; here, a listing replaces only what its own
/// watch has seen.
pub(super) struct Mirror<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    writer: Writer<K>,
    kind: K::DynamicType,
    /// By watch: what it knows, and what a listing under way has shown so far.
    watches: BTreeMap<usize, Known<K>>,
    /// Watches that have not shown everything yet.
    unread: BTreeSet<usize>,
}

struct Known<K>
where
    K: Resource,
    K::DynamicType: Eq + Hash,
{
    objects: HashSet<ObjectRef<K>>,
    listing: HashSet<ObjectRef<K>>,
}

/// What an event means for the pipelines.
pub(super) enum Seen {
    /// This object came, changed or went.
    Object(Box<ObjectMeta>),
    /// A listing ended: these objects went unseen.
    Listed(Vec<ObjectMeta>),
}

impl<K> Mirror<K>
where
    K: Resource + Clone + Debug + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    /// Empty; complete when `watches` watches have shown everything.
    pub(super) fn new(kind: K::DynamicType, watches: usize) -> Self {
        Self { writer: Writer::new(kind.clone()), kind, watches: BTreeMap::new(), unread: (0..watches).collect() }
    }

    pub(super) fn store(&self) -> Store<K> {
        self.writer.as_reader()
    }

    /// Watches that have not shown everything yet.
    pub(super) fn unread(&self) -> impl Iterator<Item = usize> {
        self.unread.iter().copied()
    }

    /// Takes an event of the watch with this number.
    pub(super) fn take(&mut self, watch: usize, event: Event<K>) -> Option<Seen> {
        let known =
            self.watches.entry(watch).or_insert_with(|| Known { objects: HashSet::new(), listing: HashSet::new() });
        match event {
            Event::Init => {
                known.listing.clear();
                None
            }
            Event::InitApply(object) => {
                known.listing.insert(ObjectRef::from_obj_with(&object, self.kind.clone()));
                Some(self.applied(watch, object))
            }
            Event::Apply(object) => Some(self.applied(watch, object)),
            Event::Delete(object) => {
                known.objects.remove(&ObjectRef::from_obj_with(&object, self.kind.clone()));
                let seen = Seen::Object(Box::new(object.meta().clone()));
                self.writer.apply_watcher_event(&Event::Delete(object));
                Some(seen)
            }
            Event::InitDone => Some(Seen::Listed(self.listed(watch))),
        }
    }

    /// The watch has ended for now (its kind is no longer served): what it has seen is gone.
    pub(super) fn ended(&mut self, watch: usize) -> Vec<ObjectMeta> {
        if let Some(known) = self.watches.get_mut(&watch) {
            known.listing.clear();
        }
        self.listed(watch)
    }

    fn applied(&mut self, watch: usize, object: K) -> Seen {
        if let Some(known) = self.watches.get_mut(&watch) {
            known.objects.insert(ObjectRef::from_obj_with(&object, self.kind.clone()));
        }
        let seen = Seen::Object(Box::new(object.meta().clone()));
        self.writer.apply_watcher_event(&Event::Apply(object));
        seen
    }

    fn listed(&mut self, watch: usize) -> Vec<ObjectMeta> {
        let store = self.writer.as_reader();
        let mut gone = Vec::new();
        if let Some(known) = self.watches.get_mut(&watch) {
            let listing = std::mem::take(&mut known.listing);
            for object in known.objects.difference(&listing).filter_map(|object| store.get(object)) {
                gone.push(object.meta().clone());
                self.writer.apply_watcher_event(&Event::Delete((*object).clone()));
            }
            known.objects = listing;
        }
        if self.unread.remove(&watch) && self.unread.is_empty() {
            self.complete(&store);
        }
        gone
    }

    /// Tells who waits for the store: for that, the writer wants a listing of its own.
    fn complete(&mut self, store: &Store<K>) {
        let objects = store.state();
        self.writer.apply_watcher_event(&Event::Init);
        for object in objects {
            self.writer.apply_watcher_event(&Event::InitApply((*object).clone()));
        }
        self.writer.apply_watcher_event(&Event::InitDone);
    }
}

/// The children of all pipelines, as the watches have last seen them. Cheap to clone.
#[derive(Clone)]
pub struct Live(Arc<BTreeMap<ChildKind, (ApiResource, Store<DynamicObject>)>>);

impl Live {
    pub(super) fn new(stores: impl IntoIterator<Item = (ChildKind, Store<DynamicObject>)>) -> Self {
        Self(Arc::new(stores.into_iter().map(|(kind, store)| (kind, (kind.resource(), store))).collect()))
    }

    /// The child of this name.
    pub fn get(&self, kind: ChildKind, namespace: &str, name: &str) -> Option<Arc<DynamicObject>> {
        let (resource, store) = self.0.get(&kind)?;
        store.get(&ObjectRef::new_with(name, resource.clone()).within(namespace))
    }

    /// What the pipeline with this UID owns.
    pub fn owned_by(&self, uid: &str) -> Vec<(ChildKind, Arc<DynamicObject>)> {
        let owned = |object: &DynamicObject| controller(object.meta()).is_some_and(|(_, owner)| owner == uid);
        self.0
            .iter()
            .flat_map(|(kind, (_, store))| store.state_filter(owned).into_iter().map(|object| (*kind, object)))
            .collect()
    }
}

/// Name and UID of the MuttPipeline that controls an object.
pub(super) fn controller(meta: &ObjectMeta) -> Option<(&str, &str)> {
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let ours = owner.kind == "MuttPipeline" && owner.api_version.starts_with("mutt.dev/");
    ours.then_some((owner.name.as_str(), owner.uid.as_str()))
}

/// How the API server answered to a write of ours: until the watch has caught up, this is newer than what it shows.
///
/// Resource versions of one kind are comparable numbers (Kubernetes 1.35); what is none is taken as new. An etcd that was restored
/// from a backup begins with lower ones again, so that an answer counts only as long as a watch may lag.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    version: String,
    at: Instant,
}

/// A watch that has not caught up after this will not: what it shows is what there is.
const WATCH_LAG_MAX: Duration = Duration::from_secs(60);

impl Answer {
    pub(super) fn new(meta: &ObjectMeta) -> Self {
        Self { version: meta.resource_version.clone().unwrap_or_default(), at: Instant::now() }
    }

    /// Whether it is newer than what was `seen`.
    pub(super) fn is_newer_than(&self, seen: &ObjectMeta) -> bool {
        self.is_newer_at(seen, Instant::now())
    }

    fn is_newer_at(&self, seen: &ObjectMeta, now: Instant) -> bool {
        let number = |text: &str| text.parse::<u128>().ok();
        match (seen.resource_version.as_deref().and_then(number), number(&self.version)) {
            (Some(seen), Some(answered)) => seen < answered && now.duration_since(self.at) < WATCH_LAG_MAX,
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use futures_util::FutureExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;

    use super::*;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let metadata =
            ObjectMeta { namespace: Some(namespace.into()), name: Some(name.into()), ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn names(store: &Store<ConfigMap>) -> Vec<String> {
        let mut names: Vec<_> = store.state().iter().map(|object| object.name_any()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_listing_replaces_what_its_own_watch_has_seen() {
        let mut mirror = Mirror::<ConfigMap>::new((), 2);
        let store = mirror.store();
        for (watch, namespace, name) in [(0, "a", "a1"), (0, "a", "a2"), (1, "b", "b1")] {
            mirror.take(watch, Event::InitApply(object(namespace, name)));
        }
        mirror.take(0, Event::InitDone);
        assert!(store.wait_until_ready().now_or_never().is_none(), "the second watch is missing");
        mirror.take(1, Event::InitDone);
        assert!(store.wait_until_ready().now_or_never().is_some());
        assert_eq!(names(&store), ["a1", "a2", "b1"]);

        mirror.take(0, Event::Init);
        mirror.take(0, Event::InitApply(object("a", "a2")));
        mirror.take(0, Event::InitApply(object("a", "a3")));
        let Some(Seen::Listed(gone)) = mirror.take(0, Event::InitDone) else { panic!("a listing ended") };
        assert_eq!(gone.iter().map(|meta| meta.name.clone().unwrap()).collect::<Vec<_>>(), ["a1"]);
        assert_eq!(names(&store), ["a2", "a3", "b1"]);

        mirror.take(1, Event::Delete(object("b", "b1")));
        assert_eq!(mirror.ended(0).len(), 2);
        assert!(names(&store).is_empty());
    }

    #[test]
    fn resource_versions_are_compared_as_numbers_while_a_watch_may_lag() {
        let of = |version: &str| {
            let mut meta = object("a", "a1").metadata;
            meta.resource_version = Some(version.into());
            meta
        };
        let answer = Answer::new(&of("100"));
        assert!(answer.is_newer_than(&of("99")));
        assert!(!answer.is_newer_than(&of("100")));
        assert!(!answer.is_newer_at(&of("99"), Instant::now() + WATCH_LAG_MAX), "etcd was restored");
        assert!(!Answer::new(&of("not a number")).is_newer_than(&of("99")));
    }
}
