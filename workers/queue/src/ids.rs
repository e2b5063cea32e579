//! Newtypes for the ids that travel through the queue.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new UUIDv7: its first 48 bits are the time in milliseconds.
            #[allow(clippy::new_without_default, reason = "a default that differs each time misleads")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// Wraps an existing id.
            pub fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The plain UUID, as databases take it.
            pub fn uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id! {
    /// Identity of one accepted event, `_event_id` in the queued element.
    EventId
}
uuid_id! {
    /// Identity of one taken batch; never reused, and the key of its audit row.
    BatchId
}

impl EventId {
    /// The id of an element that carries none: UUIDv5 of the batch's id and the element's index,
    /// so that whoever finishes the batch derives the same one.
    pub fn derived(batch: BatchId, index: usize) -> Self {
        Self(Uuid::new_v5(&batch.0, index.to_string().as_bytes()))
    }
}

/// Name of one worker process (or of one thread of it): `<pod or host>-<random per start>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(String);

impl WorkerId {
    /// A new name below `pod`; eight random hex digits keep restarts of one pod apart.
    pub fn new(pod: &str) -> Self {
        Self(format!("{pod}-{:08x}", fastrand::u32(..)))
    }

    /// A known name, e.g. one read from a lease.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counts the owners of a batch: 1 for the taker, one more with each takeover. A finish under an
/// older fence changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

impl Fence {
    /// The taker's own fence.
    pub const FIRST: Self = Self(1);

    /// The fence of the next owner.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
