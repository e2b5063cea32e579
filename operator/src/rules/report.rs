//! What a pipeline's task tells the hub.

use std::collections::HashMap;
use std::sync::Arc;

use mutt_queue::Totals;
use mutt_queue::served_rules::Served;

use super::acks::Alerters;
use super::board::{PipelineKey, QueueDepths};
use super::form::Form;
use super::record::Owner;
use super::redis::Trouble;

/// What a task tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Report {
    /// The pipeline.
    pub(super) key: PipelineKey,
    /// Its UID.
    pub(super) uid: String,
    /// Revision and sequence number that Redis serves on our behalf.
    pub(super) served: Option<(String, u64)>,
    /// What the alerters said.
    pub(super) alerters: Alerters,
    /// Live alerters that use that revision, and those that do not.
    pub(super) active: usize,
    /// See `active`.
    pub(super) laggards: Vec<String>,
    /// Depths of the queues.
    pub(super) queues: Option<QueueDepths>,
    /// What is wrong.
    pub(super) trouble: Option<Trouble>,
    /// Last good forms found in what Redis served when the task began.
    pub(super) found: Vec<Found>,
}

/// A last good form.
#[derive(Debug, Clone)]
pub(super) struct Found(pub(super) Arc<Form>);

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash && self.0.name() == other.0.name()
    }
}

/// A ConfigMap of this half was seen.
#[derive(Debug, Clone)]
pub(super) struct SeenConfigMap {
    /// Its name.
    pub(super) name: String,
    /// Its version; none = it is gone.
    pub(super) resource_version: Option<String>,
}

/// What the task knows besides what Redis says.
pub(super) struct Known<'k> {
    /// See [`Report::served`].
    pub(super) served: Option<(String, u64)>,
    /// Newest set of each revision that was published.
    pub(super) published: &'k HashMap<String, u64>,
    /// See [`Alerters::searched`].
    pub(super) searched: bool,
    /// See [`Report::queues`].
    pub(super) queues: Option<QueueDepths>,
}

impl Report {
    /// What Redis says now.
    pub(super) fn of(
        owner: &Owner,
        known: &Known<'_>,
        served: &Served,
        in_trouble: bool,
        trouble: Option<Trouble>,
    ) -> Self {
        let revision = known.served.as_ref().map_or("", |(revision, _)| revision);
        let laggards = served.acks_of(revision).laggards;
        Self {
            key: owner.key.clone(),
            uid: owner.uid.clone(),
            served: known.served.clone(),
            alerters: alerters(known, served, in_trouble),
            active: served.alive.len() - laggards.len(),
            laggards,
            queues: known.queues,
            trouble,
            found: Vec::new(),
        }
    }
}

fn alerters(known: &Known<'_>, served: &Served, in_trouble: bool) -> Alerters {
    let mut alerters = Alerters { in_trouble, searched: known.searched, ..Alerters::default() };
    for worker in &served.alive {
        let ack = served.acks.get(worker);
        let version = ack.and_then(|ack| known.published.get(&ack.revision).copied());
        if let (Some(ack), Some(version)) = (ack, version) {
            for error in &ack.errors {
                let told: &mut (u64, String) = alerters.refused.entry(error.rule.clone()).or_default();
                if told.0 <= version {
                    *told = (version, error.reason.clone());
                }
            }
        }
        alerters.versions.insert(worker.clone(), version);
    }
    alerters
}

impl From<&Totals> for QueueDepths {
    fn from(totals: &Totals) -> Self {
        Self {
            ingest: totals.ingest_queue,
            alert: totals.alert_queue,
            delayed: totals.delayed,
            dlq_ingest: totals.dlq_ingest,
            dlq_alerter: totals.dlq_alerter,
            dlq_moog: totals.dlq_moog,
            dlq_dead: totals.dlq_dead,
        }
    }
}
