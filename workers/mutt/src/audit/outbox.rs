//! What the finish of a batch owes to Redis, stored with the audit so that a successor can pay it.

use serde::{Deserialize, Serialize};

/// Everything that the finish needs besides the batch's own elements, which stay in Redis until then: alerts refer to
/// them by index, so that the outbox is a few bytes per event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outbox {
    /// Events that a rule took, those that are audited only too.
    #[serde(default)]
    pub handled: u64,
    /// What alerts of the same rule share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<Template>,
    /// Index of the element and of its template, in the order of the elements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<(u32, u32)>,
    /// Unhandled events to be counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<UnhandledGroup>,
    /// Elements for the dead letter queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead: Vec<DeadEntry>,
}

/// The part of an alert that comes from its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Template {
    /// The rule's name.
    pub rule: String,
    /// `team_assignment` of the alert.
    pub team: String,
    /// Severity word of the alert.
    pub severity: String,
}

/// Unhandled events of one host and signature within a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnhandledGroup {
    /// The device.
    pub host: String,
    /// Hash of the masked message, or the overflow's name.
    pub signature: String,
    /// Indexes of its elements, ascending: the one that reaches the threshold is the meta-alert's sample.
    pub elements: Vec<u32>,
}

/// An element that cannot be processed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadEntry {
    /// Index of the element.
    pub element: u32,
    /// Word of the reason, see [`crate::alert::Reason`].
    pub reason: String,
    /// For people.
    pub detail: String,
    /// How often it was tried.
    pub attempts: u32,
}
