//! Rules served by Redis: `rules:bundle:<revision>` holds the canonical document, `rules:current` names the revision,
//! `<prefix>:rules:seq` its sequence number.

use mutt_queue::{Keys, Redis, Script};
use mutt_rules::{Revision, RuleSet};

use super::{Loaded, RuleSourceError};

static PUBLISH: Script = Script::new(include_str!("lua/publish_bundle.lua"));
/// Bundles that are no longer current stay for workers that are about to read them.
const OLD_BUNDLE_TTL_SECONDS: u64 = 600;

/// Reads and verifies the current bundle.
pub(crate) async fn load(redis: &Redis, keys: &Keys) -> Result<Loaded, RuleSourceError> {
    let Some(current) = super::announce::current(redis, keys).await? else {
        return Err(RuleSourceError::NoBundle);
    };
    let bad = |reason: &str| RuleSourceError::BadBundle { revision: current.clone(), reason: reason.to_owned() };
    let text: Option<String> = redis.query(redis::cmd("GET").arg(keys.rules_bundle(&current))).await?;
    let text = text.ok_or_else(|| bad("it is not in redis"))?;
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
    let bundle = keys.rules_bundle(revision.as_str());
    let previous = super::announce::current(redis, keys).await?;
    let previous = previous.map_or_else(|| bundle.clone(), |revision| keys.rules_bundle(&revision));
    let sequence_key = format!("{}:rules:seq", keys.prefix);
    let [channel, old_channel] = keys.reload_channels();
    let mut call = PUBLISH.call(&[&keys.rules_current, &sequence_key, &bundle, &previous]);
    call.arg(sequence).arg(revision.as_str()).arg(&text).arg(OLD_BUNDLE_TTL_SECONDS).arg(channel).arg(old_channel);
    Ok(redis.run_as::<i64>(&call).await? == 1)
}
