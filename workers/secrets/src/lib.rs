//! Passwords and keys. They come from the environment or from files (`<NAME>_FILE`), are re-read when a file
//! changes, and come in pairs during a rotation: CURRENT and NEXT are both good.
//!
//! A further store (Vault) is one more [`Source`] behind the same [`Secrets`].

mod secret;
mod source;
mod store;

pub use secret::{Pair, Secret, SecretName};
pub use source::{EnvironmentSource, FileSource, Source, SourceError};
pub use store::{Secrets, SecretsError};
