//! Rules from a directory: AlertRule files and `pipeline.yaml`, as `kubectl apply` and `mutt rules apply` take them.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use mutt_rules::{Document, Object, RuleError, RuleSet, parse_documents};

use super::{Loaded, RuleSourceError};

/// A directory's documents; kept so that a file that was good stays in force while it is broken.
#[derive(Debug, Default)]
pub(super) struct Directory {
    documents: Vec<Document>,
}

impl Directory {
    /// Reads all `*.yaml`, `*.yml` and `*.json` files, in order of their names. Faults are reported per document; of a
    /// file with a fault the rules it held before stay, unless it holds them still.
    pub(super) fn load(&mut self, dir: &Path) -> Result<Loaded, RuleSourceError> {
        let (mut documents, mut unreadable) = (Vec::new(), Vec::new());
        for path in files(dir)? {
            let origin = path.display().to_string();
            let text =
                fs::read_to_string(&path).map_err(|source| RuleSourceError::File { path: path.clone(), source })?;
            match parse_documents(&text, &origin) {
                Ok(parsed) => documents.extend(parsed),
                Err(faults) => {
                    let kept = self.kept(&origin, &faults.good);
                    for fault in &faults.errors {
                        let rule = format!("{origin}#{}", fault.document);
                        unreadable.push(RuleError {
                            rule,
                            id: None,
                            reason: fault.to_string(),
                            last_good_in_use: !kept.is_empty(),
                        });
                    }
                    documents.extend(faults.good);
                    documents.extend(kept);
                }
            }
        }
        self.documents.clone_from(&documents);
        let set = RuleSet::from_documents(documents);
        let revision = set.revision();
        Ok(Loaded { set, revision, unreadable, counter: 0 })
    }

    fn kept(&self, origin: &str, good: &[Document]) -> Vec<Document> {
        let still_there: HashSet<String> = good.iter().map(identity).collect();
        let before = self.documents.iter().filter(|document| document.origin == origin);
        before.filter(|document| !still_there.contains(&identity(document))).cloned().collect()
    }
}

fn identity(document: &Document) -> String {
    match &document.object {
        Object::AlertRule(rule) => rule.qualified_name(),
        Object::MuttPipeline(_) => "pipeline".to_owned(),
    }
}

/// A number that differs when a file came, went or was written; cheap enough for once a second.
pub(super) fn fingerprint(dir: &Path) -> Result<u64, RuleSourceError> {
    let mut hasher = DefaultHasher::new();
    for path in files(dir)? {
        path.hash(&mut hasher);
        // A file that goes away meanwhile changes the next fingerprint.
        if let Ok(metadata) = fs::metadata(&path) {
            metadata.len().hash(&mut hasher);
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            modified.map(|time| time.as_nanos()).hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, RuleSourceError> {
    let failed = |source| RuleSourceError::File { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Kubernetes mounts a ConfigMap through hidden directories; editors write hidden files.
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let wanted =
            path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if wanted && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
