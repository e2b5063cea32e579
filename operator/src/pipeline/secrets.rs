//! What Secrets hold: names of keys, never values. Nothing of a Secret is watched or listed; each that a pipeline names is read again
//! every 30 s, and the pipeline has its turn if that shows something new.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt, runtime::reflector::Store};

use super::{
    error::{Class, class_of, in_words},
    resolve::secrets_of,
    watch::{Queue, Stored},
};

/// How old what is known of a Secret may be.
const READ_EVERY: Duration = Duration::from_secs(30);

/// What reading a Secret came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has these keys, each with a value that is not empty.
    Keys(BTreeSet<String>),
    /// There is none.
    Missing,
    /// It cannot be read.
    Unread(String, Class),
}

/// Namespace and name.
type Place = (String, String);

/// What is known of the Secrets that pipelines name.
#[derive(Default)]
pub struct Secrets(Mutex<BTreeMap<Place, (Instant, Found)>>);

impl Secrets {
    /// What is known of these Secrets of one namespace, read if that is older than [`READ_EVERY`] or no Secret was there.
    pub async fn read(&self, client: &Client, namespace: &str, names: &BTreeSet<String>) -> BTreeMap<String, Found> {
        let mut all = BTreeMap::new();
        for name in names {
            let place = (namespace.to_owned(), name.clone());
            let known = self.lock().get(&place).cloned();
            let found = match known {
                Some((at, found @ Found::Keys(_))) if at.elapsed() < READ_EVERY => found,
                _ => self.read_now(client, place).await,
            };
            all.insert(name.clone(), found);
        }
        all
    }

    /// Reads the Secrets of all pipelines again and again, and calls for those to whom that shows something new.
    pub(super) async fn keep(&self, client: &Client, pipelines: &Store<Stored>, queue: &Queue) {
        loop {
            tokio::time::sleep(READ_EVERY).await;
            let named = named_by(pipelines);
            self.lock().retain(|place, _| named.contains_key(place));
            for (place, pipelines) in named {
                let before = self.lock().get(&place).map(|(_, found)| found.clone());
                if before.as_ref() != Some(&self.read_now(client, place.clone()).await) {
                    for pipeline in pipelines {
                        queue.call(&place.0, &pipeline);
                    }
                }
            }
        }
    }

    async fn read_now(&self, client: &Client, place: Place) -> Found {
        let api: Api<Secret> = Api::namespaced(client.clone(), &place.0);
        let found = match api.get_opt(&place.1).await {
            Ok(Some(secret)) => Found::Keys(keys_of(secret)),
            Ok(None) => Found::Missing,
            Err(error) => Found::Unread(in_words(&error), class_of(&error)),
        };
        self.lock().insert(place, (Instant::now(), found.clone()));
        found
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, (Instant, Found)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys_of(secret: Secret) -> BTreeSet<String> {
    let data = secret.data.unwrap_or_default();
    data.into_iter().filter(|(_, value)| !value.0.is_empty()).map(|(key, _)| key).collect()
}

/// The Secrets that the pipelines name, and by which pipelines of their namespace.
fn named_by(pipelines: &Store<Stored>) -> BTreeMap<Place, Vec<String>> {
    let mut named: BTreeMap<Place, Vec<String>> = BTreeMap::new();
    for stored in pipelines.state() {
        let Ok(pipeline) = &stored.0 else { continue };
        let namespace = pipeline.namespace().unwrap_or_default();
        for secret in secrets_of(&pipeline.spec) {
            named.entry((namespace.clone(), secret)).or_default().push(pipeline.name_any());
        }
    }
    named
}
