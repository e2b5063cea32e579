//! Why an event went to the dead letter queue: one word for the entry, the log and the metric.

use std::fmt::Display;

/// Reasons of `mutt:dlq:alerter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The element is not UTF-8.
    NotUtf8,
    /// The element is not JSON.
    NotJson,
    /// The element is JSON, but no object.
    NotObject,
    /// No hostname, message or timestamp.
    MissingField,
    /// The timestamp is no time.
    BadTimestamp,
    /// PostgreSQL will never take the row.
    RefusedByDatabase,
    /// Workers died over it, again and again.
    Poison,
}

impl Reason {
    /// Whether a stored word is that of poison, which the metrics count apart.
    pub(crate) fn is_poison(word: &str) -> bool {
        word == Self::Poison.as_str()
    }

    /// The word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotObject => "not_object",
            Self::MissingField => "missing_field",
            Self::BadTimestamp => "bad_timestamp",
            Self::RefusedByDatabase => "refused_by_database",
            Self::Poison => "poison",
        }
    }
}

/// An element that can never be processed.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// The word.
    pub reason: Reason,
    /// For people.
    pub detail: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl Rejected {
    /// With whatever explains it.
    pub(crate) fn new(reason: Reason, detail: impl Display) -> Self {
        Self { reason, detail: detail.to_string(), attempts: 1 }
    }
}
