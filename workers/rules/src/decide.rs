//! The decision on one event.

use crate::compile::CompiledRule;
use crate::event::Event;
use crate::spec::AlertSeverity;
use crate::validate::is_forwarded;

/// Memory that decisions reuse: one per thread serves all lanes and outlives rule sets.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) now_seconds: u64,
    pub(crate) shadows: Vec<u32>,
}

impl Scratch {
    /// Tells the time, in seconds of any monotonic clock; needed only for the suspension of rules that hit their step limit too often.
    pub fn set_now(&mut self, seconds: u64) {
        self.now_seconds = seconds;
    }

    /// Indices (for [`crate::Compiled::rule`]) of the shadow rules that took the last decided event before the deciding rule did.
    pub fn shadows(&self) -> &[u32] {
        &self.shadows
    }
}

/// What the rules say to an event.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'c> {
    /// A rule takes it.
    Handled(Handled<'c>),
    /// No active rule takes it.
    Unhandled,
}

impl<'c> Decision<'c> {
    /// Whether a rule takes it.
    pub fn is_handled(&self) -> bool {
        matches!(self, Self::Handled(_))
    }

    /// The rule that takes it.
    pub fn handled(&self) -> Option<&Handled<'c>> {
        match self {
            Self::Handled(handled) => Some(handled),
            Self::Unhandled => None,
        }
    }
}

/// The first active rule that takes an event, and what follows.
#[derive(Debug, Clone, Copy)]
pub struct Handled<'c> {
    /// The rule.
    pub rule: &'c CompiledRule,
    /// The handling word as the rule gives it.
    pub handling: &'c str,
    /// Whether the alert is sent on.
    pub forward: bool,
    /// Whether the host is a development host.
    pub development: bool,
    /// The team the alert is assigned to.
    pub team: &'c str,
    /// Severity of the alert.
    pub alert_severity: AlertSeverity,
}

impl<'c> Handled<'c> {
    pub(crate) fn new(rule: &'c CompiledRule, development: bool) -> Self {
        let handling = if development { &rule.handling.development } else { &rule.handling.production };
        Self {
            rule,
            handling,
            forward: is_forwarded(handling),
            development,
            team: &rule.team,
            alert_severity: rule.alert_severity,
        }
    }
}

/// Whether the severity criterion holds: needed on syslog events, on traps tested only if the event carries one.
pub(crate) fn severity_holds(criterion: Option<(i64, bool)>, event: &Event<'_>, is_trap: bool) -> bool {
    let Some((wanted, at_most)) = criterion else {
        return true;
    };
    match event.syslog_severity {
        Some(severity) if at_most => severity <= wanted,
        Some(severity) => severity == wanted,
        None => is_trap,
    }
}
