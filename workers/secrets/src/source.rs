//! Where secrets come from.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::Secret;

/// Why a source could not give a secret that it should have.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("{key}_FILE: cannot read {}: {source}", path.display())]
    Unreadable {
        /// Name of the secret.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds nothing.
    #[error("{key}_FILE: the file is empty; remove the setting or write the value into it")]
    Empty {
        /// Name of the secret.
        key: String,
    },
    /// The value can not be sent in a header or a password message.
    #[error("{key}: the value holds a control character; a secret is one line of text")]
    Control {
        /// Name of the secret.
        key: String,
    },
}

/// A store of secrets.
pub trait Source: Send + Sync {
    /// The secret of this name, `None` where the source does not hold it.
    fn read(&self, key: &str) -> Result<Option<Secret>, SourceError>;
}

/// Values given in the environment (or a settings file) when the process started.
pub struct EnvironmentSource(BTreeMap<String, String>);

impl EnvironmentSource {
    /// Takes the variables as they are.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl Source for EnvironmentSource {
    fn read(&self, key: &str) -> Result<Option<Secret>, SourceError> {
        // Env files leave a name empty for what does not run: that is no secret, not an empty one.
        self.0.get(key).filter(|value| !value.is_empty()).map(|value| checked(key, value)).transpose()
    }
}

/// Values in files named by `<NAME>_FILE`; the file is read at each call, so a rotated file is seen.
///
/// A file that is not there, in a directory that is, is no secret: so a mounted Kubernetes Secret gains and loses its NEXT key
/// while everything runs. A directory that is not there is a mistake in the path.
pub struct FileSource(BTreeMap<String, PathBuf>);

impl FileSource {
    /// Takes the `<NAME>_FILE` variables among `variables`.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let files = variables
            .into_iter()
            .filter_map(|(name, path)| Some((name.strip_suffix("_FILE")?.to_owned(), path.into())));
        Self(files.collect())
    }
}

impl Source for FileSource {
    fn read(&self, key: &str) -> Result<Option<Secret>, SourceError> {
        let Some(path) = self.0.get(key) else {
            return Ok(None);
        };
        match std::fs::read_to_string(path) {
            Ok(text) => checked(key, text.trim_end_matches(['\n', '\r'])).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir) => Ok(None),
            Err(source) => Err(SourceError::Unreadable { key: key.to_owned(), path: path.clone(), source }),
        }
    }
}

fn checked(key: &str, value: &str) -> Result<Secret, SourceError> {
    let key = || key.to_owned();
    if value.is_empty() {
        return Err(SourceError::Empty { key: key() });
    }
    if value.chars().any(char::is_control) {
        return Err(SourceError::Control { key: key() });
    }
    Ok(Secret::new(value))
}
