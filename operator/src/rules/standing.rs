//! How a pipeline stands: its rules, how far each is, and what its task told.

use std::collections::BTreeSet;

use jiff::Timestamp;
use mutt_crds::pipeline::RedisSpec;

use super::Shadows;
use super::acks::Track;
use super::board::RulesState;
use super::index::PipelineSet;
use super::redis::Trouble;
use super::report::Report;

/// What the hub knows of a pipeline.
#[derive(Default)]
pub(super) struct Standing {
    /// How far each rule is.
    pub(super) track: Track,
    /// Selected rules that are accepted.
    pub(super) accepted: usize,
    /// Selected rules that are not.
    pub(super) rejected: usize,
    /// Rules that can never fire.
    pub(super) shadows: Shadows,
    /// What its task told last.
    pub(super) report: Option<Report>,
    /// See [`RulesState::selector_error`].
    pub(super) selector_error: Option<String>,
    /// Where its Redis is; what alerters said there is not said of another one.
    pub(super) redis: Option<RedisSpec>,
    /// Rules of which the status is believed, once: it is of the operator's term before.
    pub(super) trusted: BTreeSet<String>,
}

impl Standing {
    /// Takes in what a set says besides its rules.
    pub(super) fn takes(&mut self, set: &PipelineSet) {
        (self.accepted, self.rejected) = (set.accepted, set.rejected);
        self.selector_error.clone_from(&set.selector_error);
        if self.redis.as_ref().is_some_and(|redis| *redis != set.settings.redis) {
            self.track = Track::default();
            self.trusted.clear();
        }
        self.redis = Some(set.settings.redis.clone());
    }

    /// Accepted rules that all alerters use.
    pub(super) fn active(&self) -> usize {
        self.track.active().min(self.accepted)
    }

    /// What the pipeline half is shown; none before the task told anything.
    pub(super) fn state(&self) -> Option<RulesState> {
        let report = self.report.as_ref()?;
        let (redis_error, cluster_error) = match &report.trouble {
            Some(Trouble::Redis(reason)) => (Some(reason.clone()), None),
            Some(Trouble::Cluster(reason)) => (None, Some(reason.clone())),
            None => (None, None),
        };
        Some(RulesState {
            uid: report.uid.clone(),
            revision: report.served.as_ref().map(|(revision, _)| revision.clone()),
            sequence: report.served.as_ref().map_or(0, |(_, sequence)| *sequence),
            accepted: self.accepted,
            rejected: self.rejected,
            active: self.active(),
            alerters_active: report.active,
            alerters_alive: report.active + report.laggards.len(),
            laggards: report.laggards.clone(),
            queues: report.queues,
            redis_error,
            cluster_error,
            selector_error: self.selector_error.clone(),
            at: Timestamp::now(),
        })
    }
}
