//! Rules served by Redis: the document is verified by its revision, which is its SHA-256.

use mutt_queue::served_rules::{self, Published};
use mutt_queue::{Keys, Redis};
use mutt_rules::{Revision, RuleSet};

use super::{Loaded, RuleSourceError};

/// Reads and verifies the current bundle.
pub(crate) async fn load(redis: &Redis, keys: &Keys) -> Result<Loaded, RuleSourceError> {
    let Some(current) = served_rules::current(redis, keys).await? else {
        return Err(RuleSourceError::NoBundle);
    };
    let bad = |reason: &str| RuleSourceError::BadBundle { revision: current.clone(), reason: reason.to_owned() };
    let text = served_rules::bundle(redis, keys, &current).await?.ok_or_else(|| bad("it is not in redis"))?;
    let revision = Revision::of(&text);
    if revision.as_str() != current {
        return Err(bad("its content has another sha256"));
    }
    // The set's own revision may differ: another version of MUTT may have written the document.
    let set = RuleSet::from_json(&text)?;
    Ok(Loaded { set, revision, unreadable: Vec::new(), counter: 0 })
}

/// Publishes a rule set, unless Redis holds a sequence number that is not smaller. True if it is current now.
///
/// # Errors
/// Those of a command.
pub(crate) async fn publish(redis: &Redis, keys: &Keys, sequence: u64, set: &RuleSet) -> Result<bool, RuleSourceError> {
    let text = set.to_canonical_json();
    let revision = Revision::of(&text);
    let published = served_rules::publish(redis, keys, sequence, revision.as_str(), &text).await?;
    Ok(published == Published::Current)
}
