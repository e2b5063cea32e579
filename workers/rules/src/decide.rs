//! The decision on one event.

use crate::compile::pattern::Pattern;
use crate::compile::{Caches, Compiled, CompiledRule, Index, Seen, Waiting};
use crate::event::Event;
use crate::fold::fold_into;
use crate::spec::{AlertSeverity, Mode};

/// Memory that decisions reuse: one per thread serves all lanes and outlives rule sets.
#[derive(Debug, Default)]
pub struct Scratch {
    now_seconds: u64,
    caches: Caches,
    folded: String,
    /// Stamp of the last event that settled each rule, so that a rule is not looked at again.
    settled: Vec<u32>,
    stamp: u32,
    /// Regexes whose required text was found.
    pending: Vec<u32>,
    shadows: Vec<u32>,
}

/// Folded copies of huge messages are not kept.
const FOLDED_BYTES_KEPT: usize = 64 << 10;

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
        let words = rule.handling();
        let handling = if development { &words.development } else { &words.production };
        Self {
            rule,
            handling,
            forward: rule.forwards(development),
            development,
            team: rule.team(),
            alert_severity: rule.alert_severity(),
        }
    }
}

impl Compiled {
    /// Decides an event: the first active rule that takes it wins. Shadow rules that took it before are in [`Scratch::shadows`].
    pub fn decide(&self, event: &Event<'_>, scratch: &mut Scratch) -> Decision<'_> {
        scratch.begin(self.rules().len());
        let seen = Seen::new(event, scratch.now_seconds);
        let mut folded = std::mem::take(&mut scratch.folded);
        let text = if seen.is_ascii {
            event.message
        } else {
            fold_into(event.message, &mut folded);
            &folded
        };
        let best = Search { compiled: self, seen, text, best: NONE, scratch }.run();
        folded.shrink_to(FOLDED_BYTES_KEPT);
        scratch.folded = folded;
        scratch.shadows.retain(|index| *index < best);
        scratch.shadows.sort_unstable();
        match self.rule(best) {
            Some(rule) => Decision::Handled(Handled::new(rule, self.is_development_host(event.hostname))),
            None => Decision::Unhandled,
        }
    }
}

/// Index of no rule.
const NONE: u32 = u32::MAX;

/// The search for the first active rule that takes one event.
struct Search<'s, 'e> {
    compiled: &'s Compiled,
    seen: Seen<'e>,
    /// The message, folded unless it is ASCII.
    text: &'s str,
    /// The first active rule found so far.
    best: u32,
    scratch: &'s mut Scratch,
}

impl Search<'_, '_> {
    fn run(mut self) -> u32 {
        let index: &Index = &self.compiled.index;
        if let Some(oid) = self.seen.trap_oid {
            index.by_oid(oid, |rules| self.take_each(rules));
        }
        index.scan(self.text, |waiting, start, end| {
            self.window_found(waiting, start, end);
            self.best > 0
        });
        self.try_pending();
        let Scratch { caches, pending, .. } = &mut *self.scratch;
        index.always.candidates(self.seen.event.message, self.seen.is_ascii, self.best, caches, pending);
        self.try_pending();
        self.best
    }

    /// Looks at rules of which only the other criteria are open.
    fn take_each(&mut self, rules: &[u32]) {
        for index in rules.iter().copied() {
            if index >= self.best {
                break;
            }
            self.settle(index);
        }
    }

    /// Looks at the rules that wait for a window of their literal, which was found at `start..end`.
    fn window_found(&mut self, waiting: &[Waiting], start: usize, end: usize) {
        for Waiting { rule: index, before } in waiting.iter().copied() {
            if index >= self.best {
                break;
            }
            if self.scratch.is_settled(index) {
                continue;
            }
            match self.compiled.rules()[index as usize].pattern() {
                Some(Pattern::Contains(literal)) if self.is_at(literal, start, end, before as usize) => {
                    self.settle(index);
                }
                Some(Pattern::Regex(_) | Pattern::Backtracking(_)) => {
                    self.scratch.mark_settled(index);
                    self.scratch.pending.push(index);
                }
                Some(Pattern::Contains(_)) | None => {}
            }
        }
    }

    /// Whether the text holds the whole literal, of which the window at `start..end` is the part behind the first `before` bytes.
    fn is_at(&self, literal: &str, start: usize, end: usize, before: usize) -> bool {
        if literal.len() == end - start {
            return true;
        }
        let Some(start) = start.checked_sub(before) else { return false };
        let text = self.text.as_bytes().get(start..start + literal.len());
        text.is_some_and(|text| text.eq_ignore_ascii_case(literal.as_bytes()))
    }

    /// Runs the regexes of candidates, in order, until one is behind the best.
    fn try_pending(&mut self) {
        let mut pending = std::mem::take(&mut self.scratch.pending);
        pending.sort_unstable();
        for index in pending.iter().copied() {
            if index >= self.best {
                break;
            }
            let rule = &self.compiled.rules()[index as usize];
            if rule.other_criteria_hold(&self.seen) && rule.message_holds(&self.seen, &mut self.scratch.caches) {
                self.taken(index, rule.mode());
            }
        }
        pending.clear();
        self.scratch.pending = pending;
    }

    /// Settles a rule whose message criterion holds.
    fn settle(&mut self, index: u32) {
        self.scratch.mark_settled(index);
        let rule = &self.compiled.rules()[index as usize];
        if rule.other_criteria_hold(&self.seen) {
            self.taken(index, rule.mode());
        }
    }

    fn taken(&mut self, index: u32, mode: Mode) {
        match mode {
            Mode::Active => self.best = self.best.min(index),
            Mode::Shadow => self.scratch.shadows.push(index),
        }
    }
}

impl Scratch {
    /// Gets ready for an event.
    fn begin(&mut self, rules: usize) {
        self.shadows.clear();
        self.pending.clear();
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 || self.settled.len() != rules {
            self.settled.clear();
            self.settled.resize(rules, 0);
            self.stamp = 1;
        }
    }

    fn is_settled(&self, index: u32) -> bool {
        self.settled[index as usize] == self.stamp
    }

    fn mark_settled(&mut self, index: u32) {
        self.settled[index as usize] = self.stamp;
    }
}
