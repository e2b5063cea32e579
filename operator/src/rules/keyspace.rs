//! Whose keys are whose: two pipelines with the same keys would share queues and overwrite each other's rules.

use kube::api::ObjectMeta;
use mutt_crds::pipeline::RedisSpec;
use mutt_queue::RedisSettings;

/// Where a pipeline's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspace {
    database: String,
    prefix: String,
}

impl Keyspace {
    /// That of a spec, however its URL is written: `redis://Redis` and `redis://redis:6379/0` are the same, with any login.
    pub fn of(spec: &RedisSpec) -> Self {
        let url = spec.url.trim().trim_end_matches('/');
        let database = match RedisSettings::from_url(url) {
            Ok(settings) => {
                format!("{}:{}/{}", settings.host.to_ascii_lowercase(), settings.port, settings.database)
            }
            Err(_) => url.to_owned(),
        };
        Self { database, prefix: spec.key_prefix.clone() }
    }
}

/// Who comes first among pipelines with the same keys: one that stays before one that is being deleted, then the older
/// one, so that a newcomer disturbs nobody. The first has the keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    leaves: bool,
    created: Option<k8s_openapi::jiff::Timestamp>,
    uid: String,
}

impl Turn {
    /// That of an object.
    pub fn of(meta: &ObjectMeta) -> Self {
        Self {
            leaves: meta.deletion_timestamp.is_some(),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
            uid: meta.uid.clone().unwrap_or_default(),
        }
    }

    /// When the object was created.
    pub(super) fn created(&self) -> Option<k8s_openapi::jiff::Timestamp> {
        self.created
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_database_is_the_same_however_it_is_written() {
        let of = |url: &str, prefix: &str| {
            Keyspace::of(&RedisSpec { url: url.to_owned(), key_prefix: prefix.to_owned(), ..RedisSpec::default() })
        };
        let known = of("redis://redis:6379/0", "mutt");
        for same in ["redis://redis", "redis://REDIS/", "redis://redis:6379/0/", "rediss://me:secret@redis:6379"] {
            assert_eq!(of(same, "mutt"), known, "{same}");
        }
        for other in ["redis://redis:6380", "redis://redis/1", "redis://redis2", "no URL"] {
            assert_ne!(of(other, "mutt"), known, "{other}");
        }
        assert_ne!(of("redis://redis", "edge"), known);
    }
}
