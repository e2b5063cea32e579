//! The set of secrets a process holds, refreshed in the background.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;

use crate::{EnvironmentSource, FileSource, Pair, Secret, SecretName, Source, SourceError};

/// How often files are read again. A revoked key must be refused within 5 s.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);

/// Why the secrets cannot be used: every fault found, not only the first.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SecretsError(pub Vec<SourceError>);

type Values = BTreeMap<SecretName, Secret>;

struct Inner {
    sources: Vec<Box<dyn Source>>,
    values: ArcSwap<Values>,
}

/// All secrets of a process. Cheap to clone; a value read is the newest good one.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.values.load().keys()).finish()
    }
}

impl Secrets {
    /// Secrets of environment variables and of the files that `<NAME>_FILE` variables name; a file wins over a value.
    pub fn from_variables(variables: &BTreeMap<String, String>) -> Result<Self, SecretsError> {
        let pairs = || variables.iter().map(|(k, v)| (k.clone(), v.clone()));
        Self::open(vec![Box::new(FileSource::new(pairs())), Box::new(EnvironmentSource::new(pairs()))])
    }

    /// Reads every secret once; the first source that holds one wins. Files are read again every two seconds by a
    /// thread of their own, as long as a clone of the result lives.
    pub fn open(sources: Vec<Box<dyn Source>>) -> Result<Self, SecretsError> {
        let (values, errors) = read_all(&sources);
        if !errors.is_empty() {
            return Err(SecretsError(errors));
        }
        let inner = Arc::new(Inner { sources, values: ArcSwap::from_pointee(values) });
        let weak = Arc::downgrade(&inner);
        let watch = move || {
            loop {
                #[allow(clippy::disallowed_methods, reason = "a thread of its own that does nothing else")]
                std::thread::sleep(REFRESH_INTERVAL);
                let Some(inner) = weak.upgrade() else { return };
                Self(inner).refresh();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("secrets".into()).spawn(watch) {
            tracing::warn!(%error, "cannot start the thread that re-reads secrets; changes need a restart");
        }
        Ok(Self(inner))
    }

    /// Reads all sources again. A source that fails keeps the last good value, and so does a secret that vanished, since the role
    /// needs one; only a NEXT that vanished is gone: it is revoked. True where anything changed.
    pub fn refresh(&self) -> bool {
        let old = self.0.values.load_full();
        let (mut new, errors) = read_all(&self.0.sources);
        for error in &errors {
            tracing::warn!(%error, "secret not re-read; the last good value stays");
        }
        for (name, value) in old.iter().filter(|(name, _)| !errors.is_empty() || !name.is_next()) {
            new.entry(*name).or_insert_with(|| value.clone());
        }
        let changed = new != *old;
        if changed {
            tracing::info!("secrets changed");
            self.0.values.store(Arc::new(new));
        }
        changed
    }

    /// The secret of this name.
    pub fn get(&self, name: SecretName) -> Option<Secret> {
        self.0.values.load().get(&name).cloned()
    }

    /// The valid values of a pair: current first, then next.
    pub fn pair(&self, pair: Pair) -> Vec<Secret> {
        let values = self.0.values.load();
        pair.names().iter().filter_map(|name| values.get(name).cloned()).collect()
    }

    /// Whether `presented` is one of the pair's values. Takes the same time whichever byte differs.
    pub fn accepts(&self, pair: Pair, presented: &[u8]) -> bool {
        let values = self.0.values.load();
        let mut good = subtle::Choice::from(0);
        for name in pair.names() {
            if let Some(value) = values.get(&name) {
                good |= value.expose().as_bytes().ct_eq(presented);
            }
        }
        good.into()
    }
}

fn read_all(sources: &[Box<dyn Source>]) -> (Values, Vec<SourceError>) {
    let mut values = Values::new();
    let mut errors = Vec::new();
    for name in SecretName::ALL {
        for (key, source) in name.keys().iter().flat_map(|key| sources.iter().map(move |source| (key, source))) {
            match source.read(key) {
                Ok(Some(secret)) => {
                    values.entry(name).or_insert(secret);
                }
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
    }
    (values, errors)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> Result<Secrets, SecretsError> {
        let variables: BTreeMap<_, _> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Secrets::from_variables(&variables)
    }

    #[test]
    fn current_name_wins_and_both_keys_of_a_rotation_are_accepted() {
        let secrets = secrets(&[
            ("DB_PASS", "old"),
            ("DB_PASS_CURRENT", "new"),
            ("INGEST_API_KEY", "a"),
            ("INGEST_API_KEY_NEXT", "b"),
        ])
        .unwrap();
        assert_eq!(secrets.get(SecretName::DbPass).unwrap().expose(), "new");
        assert!(secrets.accepts(Pair::Ingest, b"a") && secrets.accepts(Pair::Ingest, b"b"));
        assert!(!secrets.accepts(Pair::Ingest, b"c") && !secrets.accepts(Pair::Ingest, b""));
        assert!(!secrets.accepts(Pair::WebUi, b""), "no key configured accepts nothing");
    }

    #[test]
    fn a_changed_file_is_seen_and_a_vanished_one_keeps_its_last_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "first\n").unwrap();
        let secrets = secrets(&[("MOOG_API_KEY_FILE", path.to_str().unwrap())]).unwrap();
        assert_eq!(secrets.get(SecretName::MoogApiKey).unwrap().expose(), "first");
        std::fs::write(&path, "second").unwrap();
        secrets.refresh();
        assert_eq!(secrets.get(SecretName::MoogApiKey).unwrap().expose(), "second");
        std::fs::remove_file(&path).unwrap();
        assert!(!secrets.refresh());
        assert_eq!(secrets.get(SecretName::MoogApiKey).unwrap().expose(), "second");
    }

    #[test]
    fn the_next_key_of_a_mounted_secret_comes_and_goes_without_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("INGEST_API_KEY"), "old").unwrap();
        let pairs = ["INGEST_API_KEY", "INGEST_API_KEY_NEXT", "REDIS_PASS", "REDIS_PASS_CURRENT"]
            .map(|name| (format!("{name}_FILE"), file(name).to_str().unwrap().to_owned()));
        let secrets = Secrets::from_variables(&BTreeMap::from(pairs)).expect("a key that is not there is no fault");
        assert!(secrets.get(SecretName::RedisPass).is_none() && !secrets.accepts(Pair::Ingest, b"new"));
        std::fs::write(file("INGEST_API_KEY_NEXT"), "new").unwrap();
        secrets.refresh();
        assert!(secrets.accepts(Pair::Ingest, b"old") && secrets.accepts(Pair::Ingest, b"new"));
        std::fs::remove_file(file("INGEST_API_KEY_NEXT")).unwrap();
        secrets.refresh();
        assert!(
            secrets.accepts(Pair::Ingest, b"old") && !secrets.accepts(Pair::Ingest, b"new"),
            "the NEXT key is revoked"
        );
    }

    #[test]
    fn every_fault_is_reported_at_once_and_no_value_is_printed() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let error = secrets(&[
            ("MOOG_API_KEY_FILE", "/nowhere/key"),
            ("REDIS_PASS_FILE", empty.path().to_str().unwrap()),
            ("DB_PASS", "a\u{7}b"),
        ])
        .unwrap_err();
        let text = error.to_string();
        assert_eq!(error.0.len(), 3, "{text}");
        assert!(text.contains("MOOG_API_KEY_FILE") && text.contains("REDIS_PASS") && text.contains("DB_PASS"));
        let secrets = secrets(&[("REDIS_PASS", "hunter2"), ("DB_PASS", "")]).unwrap();
        assert!(secrets.get(SecretName::DbPass).is_none(), "an empty variable is no secret");
        let debug = format!("{secrets:?} {:?}", secrets.get(SecretName::RedisPass));
        assert!(!debug.contains("hunter2"), "{debug}");
    }
}
