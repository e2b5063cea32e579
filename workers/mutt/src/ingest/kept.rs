//! What is kept of an answer for a repeat with the same Idempotency-Key: enough to build it again, since every id
//! follows from the request's id and the item's index.

use mutt_rules::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::answer::{self, Answer, Batch};
use super::ids::RequestId;
use super::parse::Refused;
use super::reason::Reason;
use super::validate::Refusal;

/// The stored form, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    request: Uuid,
    correlation: String,
    /// Items of a batch; absent = a single event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    items: Option<usize>,
    /// Index, code and message of refused items.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    refused: Vec<(usize, String, String)>,
}

/// Digest of an Idempotency-Key, so that no sender's text becomes part of a key's name.
pub(crate) fn digest(key: &[u8]) -> String {
    hex(&Sha256::digest(key))
}

impl Kept {
    /// Of a single event's answer.
    pub(crate) fn single(request: RequestId, correlation: &str) -> String {
        Self { request: request.uuid(), correlation: correlation.to_owned(), items: None, refused: Vec::new() }.text()
    }

    /// Of a batch's answer.
    pub(crate) fn batch(request: RequestId, correlation: &str, items: usize, refused: &[Refused]) -> String {
        let refused = refused
            .iter()
            .map(|item| (item.index, item.refusal.reason.word().to_owned(), item.refusal.message.clone()))
            .collect();
        Self { request: request.uuid(), correlation: correlation.to_owned(), items: Some(items), refused }.text()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The first answer again, with the queue's depth of now; `None` if the stored text is none of ours.
    pub(crate) fn answer(text: &[u8], depth: u64) -> Option<Answer> {
        let kept: Self = serde_json::from_slice(text).ok()?;
        let Some(items) = kept.items else {
            return Some(answer::single(&kept.correlation, depth));
        };
        let refused: Vec<Refused> = kept
            .refused
            .into_iter()
            .map(|(index, word, message)| {
                let reason = Reason::ALL.into_iter().find(|reason| reason.word() == word);
                let refusal = Refusal { reason: reason.unwrap_or(Reason::Unknown), message };
                Refused { index, refusal, event: String::new() }
            })
            .collect();
        let request = RequestId::from_uuid(kept.request);
        let batch = Batch { request, correlation: &kept.correlation, items, refused: &refused, depth };
        (refused.len() <= items).then(|| batch.answer())
    }
}
