//! Where rules come from (PostgreSQL, a directory, Redis), how a change is noticed, and how workers say that it is
//! active. DESIGN section 4.

mod ack;
mod announce;
mod bundle;
mod dir;
mod keeper;
mod postgres;

use std::path::PathBuf;

use mutt_rules::{Compiled, Revision, RuleError, RuleSet};

pub(crate) use ack::wait_active;
pub(crate) use announce::announce_change;
pub(crate) use bundle::{load as load_bundle, publish as publish_bundle};
pub(crate) use keeper::{Keeper, KeeperEvents, Triggers};
#[cfg(test)]
pub(crate) use postgres::load as load_postgres;

/// The record of the rules.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// `alert_rules`, `development_hosts` and `device_teams`.
    Postgres(sqlx::PgPool),
    /// AlertRule files.
    Directory(PathBuf),
    /// A bundle written by the operator.
    Redis,
}

/// A rule set as its source holds it now.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The rules that could be read, and a stand-in for each that could not.
    pub set: RuleSet,
    /// The revision by which the source, other workers and the audit know it.
    pub revision: Revision,
    /// Rules that could not be read, each with its reason.
    pub unreadable: Vec<RuleError>,
    /// PostgreSQL's counter of changes at the moment of reading; 0 for other sources.
    pub counter: i64,
}

/// The rule set in use.
#[derive(Debug)]
pub(crate) struct Active {
    /// What decides events.
    pub compiled: Compiled,
    /// See [`Loaded::revision`].
    pub revision: Revision,
    /// All rules that are not in use as written.
    pub errors: Vec<RuleError>,
}

/// Why no rule set could be read; the one in use stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuleSourceError {
    /// PostgreSQL.
    #[error("rules from postgresql: {0}")]
    Sql(#[from] sqlx::Error),
    /// Redis.
    #[error("rules from redis: {0}")]
    Redis(#[from] mutt_queue::RedisError),
    /// A file or the directory.
    #[error("rules from {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Redis names no revision: nobody has published rules yet.
    #[error("no rules are published in redis yet")]
    NoBundle,
    /// The bundle of the revision that Redis names is missing or has another hash.
    #[error("bundle of revision {revision}: {reason}")]
    BadBundle {
        /// The revision.
        revision: String,
        /// What is wrong.
        reason: String,
    },
    /// The document of a rule set.
    #[error(transparent)]
    Document(#[from] mutt_rules::RuleSetError),
    /// The compiler failed, which no rule may cause.
    #[error("rules could not be compiled: {0}")]
    Build(String),
}
