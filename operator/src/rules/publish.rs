//! What must be written so that Redis serves a rule set. Pure.

use mutt_queue::served_rules::Served;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// All is as it should be.
    Nothing,
    /// Redis serves it; the record does not say so.
    Record(u64),
    /// Redis lost what the record says: say it again under the same number.
    Restore(u64),
    /// A new number: record first, then Redis.
    Publish(u64),
}

/// What to do so that Redis serves `revision`. `record` is the ConfigMap's sequence number and hash.
pub(super) fn next_step(record: Option<(u64, &str)>, served: &Served, revision: &str) -> Step {
    let (sequence, hash) = record.unwrap_or_default();
    let is_served = served.revision.as_deref() == Some(revision) && served.holds_bundle;
    if is_served && served.sequence >= sequence {
        return if (sequence, hash) == (served.sequence, revision) {
            Step::Nothing
        } else {
            Step::Record(served.sequence)
        };
    }
    if hash == revision && served.sequence < sequence {
        return Step::Restore(sequence);
    }
    Step::Publish(sequence.max(served.sequence) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_only_ever_rises_and_nothing_is_written_twice() {
        let served = |sequence, revision: &str, holds_bundle| Served {
            sequence,
            revision: Some(revision.to_owned()).filter(|revision| !revision.is_empty()),
            holds_bundle,
            ..Served::default()
        };
        let table = [
            ("steady state", Some((7, "new")), served(7, "new", true), Step::Nothing),
            ("the first of all", None, served(0, "", false), Step::Publish(1)),
            ("a change", Some((7, "old")), served(7, "old", false), Step::Publish(8)),
            ("died between record and Redis", Some((8, "new")), served(7, "old", false), Step::Restore(8)),
            ("Redis flushed", Some((8, "new")), served(0, "", false), Step::Restore(8)),
            ("Redis flushed, and a change", Some((8, "old")), served(0, "", false), Step::Publish(9)),
            ("etcd restored, Redis is ahead", Some((3, "old")), served(9, "other", false), Step::Publish(10)),
            ("etcd restored to the same rules", Some((3, "new")), served(9, "other", false), Step::Publish(10)),
            ("the record was deleted", None, served(9, "new", true), Step::Record(9)),
            ("Redis says it under a greater number", Some((3, "new")), served(9, "new", true), Step::Record(9)),
            ("the bundle alone was lost", Some((7, "new")), served(7, "new", false), Step::Publish(8)),
            ("another hash under the same number", Some((7, "new")), served(7, "other", false), Step::Publish(8)),
            ("Redis came back from an old copy", Some((7, "new")), served(5, "new", true), Step::Restore(7)),
        ];
        for (case, record, served, expected) in table {
            assert_eq!(next_step(record, &served, "new"), expected, "{case}");
        }
    }
}
