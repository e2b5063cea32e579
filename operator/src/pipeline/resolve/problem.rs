//! What can be wrong with a pipeline, in words that say what to do.

use std::fmt;

use super::Resolved;

/// What kind of problem: the `reason` of the condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A Secret is not there.
    MissingSecret,
    /// A Secret lacks a key.
    MissingSecretKey,
    /// A URL cannot be used.
    InvalidUrl,
    /// Values that exclude each other.
    InvalidSettings,
    /// Something added to pods collides with what the operator needs.
    InvalidPodOverrides,
    /// A role is to be scaled by CPU and says no CPU request.
    MissingCpuRequest,
    /// KEDA is to scale a role and is not there.
    KedaNotServed,
    /// KEDA is to scale a role and could not ask the operator.
    KedaCannotAsk,
    /// The operator is to serve a metric and has not the API for it.
    ExternalMetricsNotServed,
    /// No pods are wanted at times, and nothing would bring them back.
    ScaleToZeroNotServed,
    /// A Route's termination does not go with `tls`.
    InvalidTermination,
    /// Routes are wanted on a cluster that has none.
    RouteNotServed,
    /// A ServiceMonitor is wanted on a cluster without the Prometheus operator.
    ServiceMonitorNotServed,
    /// A PrometheusRule is wanted on a cluster without the Prometheus operator.
    PrometheusRuleNotServed,
    /// More forwarders than the rate limit can use.
    MoreForwardersThanUseful,
    /// Something that has no effect as the pipeline is set.
    WithoutEffect,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // CamelCase already, as the API conventions want a reason.
        fmt::Debug::fmt(self, f)
    }
}

/// One thing that keeps the pipeline from being built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its kind.
    pub reason: Reason,
    /// What to do about it.
    pub message: String,
}

/// Something that the owner should know; the pipeline is built all the same.
pub type Warning = Problem;

/// Collects while the spec is read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    fatal: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Problems {
    /// The pipeline cannot be built.
    pub(super) fn add(&mut self, reason: Reason, message: impl Into<String>) {
        self.fatal.push(Problem { reason, message: message.into() });
    }

    /// It can, but.
    pub(super) fn warn(&mut self, reason: Reason, message: impl Into<String>) {
        self.warnings.push(Warning { reason, message: message.into() });
    }

    /// What was resolved, if nothing is in its way.
    pub(super) fn into_result(self, resolved: Resolved) -> Result<Resolved, ResolveError> {
        if self.fatal.is_empty() {
            Ok(Resolved { warnings: self.warnings, ..resolved })
        } else {
            Err(ResolveError { problems: self.fatal })
        }
    }
}

/// Everything that keeps a pipeline from being built; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; "))]
pub struct ResolveError {
    /// In the order of the spec.
    pub problems: Vec<Problem>,
}

impl ResolveError {
    /// The reason for the condition: of the first problem.
    pub fn reason(&self) -> Reason {
        self.problems.first().map_or(Reason::InvalidSettings, |problem| problem.reason)
    }

    /// Whether a change of a Secret, not of the pipeline, may solve some of it.
    pub fn waits_for_secret(&self) -> bool {
        self.problems.iter().any(|problem| matches!(problem.reason, Reason::MissingSecret | Reason::MissingSecretKey))
    }
}
