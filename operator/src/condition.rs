//! What the conditions of both kinds have in common: since when they say what they say, and how much of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The `lastTransitionTime` of a condition that is `status` now: `now`, unless it was so before.
pub(crate) fn since(before: &[Condition], type_: &str, status: &str, now: Time) -> Time {
    let same = before.iter().find(|known| known.type_ == type_ && known.status == status);
    same.map_or(now, |known| known.last_transition_time.clone())
}

/// At most so many characters of a text; that something is left out is seen.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
