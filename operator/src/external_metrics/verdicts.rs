//! What the API server has said about a token or a right is believed for some seconds, as every delegating server does.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

/// So long an answer is believed: a right that is taken away, or a token that is revoked, works no longer than that.
const BELIEVED: Duration = Duration::from_secs(10);
/// So many are kept; with more, the oldest goes. An HPA controller has one token and two rights a namespace.
const KEPT_MAX: usize = 1_024;

/// What a question is known by: a digest, so that no token is kept in memory.
pub(super) type Question = [u8; 32];

/// Answers by question, bounded in number and in age.
pub(super) struct Verdicts<V>(Mutex<HashMap<Question, (Instant, V)>>);

impl<V: Clone> Verdicts<V> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(super) fn question(bytes: &[u8]) -> Question {
        Sha256::digest(bytes).into()
    }

    /// What was said not long ago.
    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<V> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, verdict) = known.get(question)?;
        (now.saturating_duration_since(*at) < BELIEVED).then(|| verdict.clone())
    }

    /// Keeps an answer to a question that was asked at `asked`.
    pub(super) fn put(&self, question: Question, asked: Instant, verdict: V) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT_MAX {
            known.retain(|_, (at, _)| asked.saturating_duration_since(*at) < BELIEVED);
        }
        if known.len() >= KEPT_MAX
            && let Some(oldest) = known.iter().min_by_key(|(_, (at, _))| *at).map(|(question, _)| *question)
        {
            known.remove(&oldest);
        }
        known.insert(question, (asked, verdict));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_believed_for_ten_seconds_and_their_number_is_bounded() {
        let verdicts = Verdicts::new();
        let begin = Instant::now();
        let question = |number: usize| Verdicts::<usize>::question(&number.to_be_bytes());
        verdicts.put(question(0), begin, 0);
        assert_eq!(verdicts.get(&question(0), begin + BELIEVED / 2), Some(0));
        assert_eq!(verdicts.get(&question(0), begin + BELIEVED), None);
        for number in 1..=KEPT_MAX {
            verdicts.put(question(number), begin + Duration::from_millis(number as u64), number);
        }
        assert_eq!(verdicts.get(&question(0), begin), None, "the oldest went");
        assert_eq!(verdicts.get(&question(1), begin), Some(1));
        assert_eq!(verdicts.get(&question(KEPT_MAX), begin), Some(KEPT_MAX));
        let later = begin + BELIEVED * 2;
        verdicts.put(question(0), later, 0);
        assert_eq!(verdicts.0.lock().unwrap_or_else(PoisonError::into_inner).len(), 1, "what is old goes first");
    }
}
