//! From the elements of a batch to rows, alerts, unhandled groups and dead letters. Pure but for the clock that
//! slices the work.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use mutt_queue::{BatchId, EventId, Json};
use mutt_rules::{Compiled, Decision, Handled, Scratch, SignatureMode};
use uuid::Uuid;

use super::event::QueuedEvent;
use super::outgoing::write_alert;
use super::reason::{Reason, Rejected};
use super::signatures::{KnownSignatures, Signature};
use crate::audit::{AuditRow, CopyBuffer, DeadEntry, Outbox, Template, UnhandledGroup, timestamp};
use crate::rulesource::Active;
use crate::settings::{AlerterSettings, AuditScope};

/// The runtime's other tasks wait no longer than this for their turn.
const SLICE: Duration = Duration::from_millis(2);
/// Elements between looks at the clock.
const SLICE_CHECK: usize = 16;
/// `handling_decision` of an event that no rule took.
pub(crate) const UNHANDLED: &str = "unhandled";

/// What all lanes of a worker share.
pub(crate) struct Shared {
    /// The matcher's memory.
    pub scratch: RefCell<Scratch>,
    /// Signatures seen per host.
    pub signatures: RefCell<KnownSignatures>,
    /// Matches of shadow rules by name, until the metrics take them.
    pub shadow_matches: RefCell<HashMap<String, u64>>,
    /// Start of the worker's own monotonic clock.
    pub started: Instant,
}

/// How decisions are made, besides the rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Whether unhandled events get a row.
    pub audit_unhandled: bool,
    /// How unhandled messages are grouped.
    pub signature_mode: SignatureMode,
}

impl Options {
    /// AUDIT_SCOPE and UNHANDLED_SIGNATURE.
    pub(crate) fn from_settings(settings: &AlerterSettings) -> Self {
        let signature_mode = if settings.unhandled_masked { SignatureMode::Masked } else { SignatureMode::Exact };
        Self { audit_unhandled: settings.audit_scope == AuditScope::All, signature_mode }
    }
}

impl Shared {
    /// Nothing seen yet.
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            scratch: RefCell::default(),
            signatures: RefCell::default(),
            shadow_matches: RefCell::default(),
            started,
        }
    }
}

/// What becomes of one element.
#[derive(Debug)]
enum Fate {
    Forwarded(u32),
    AuditedOnly,
    Unhandled(u32),
    Dead(Rejected),
}

/// The decisions on one batch; the memory serves the next batch.
#[derive(Default)]
pub(crate) struct Decisions {
    rows: CopyBuffer,
    row_elements: Vec<u32>,
    fates: Vec<Fate>,
    templates: Vec<Template>,
    template_of: HashMap<usize, u32>,
    groups: Vec<(String, Signature)>,
    group_of: HashMap<(u64, Signature), u32>,
    hasher: RandomState,
    /// Alerts one after the other, and for each its element and its end.
    alerts: Vec<u8>,
    alert_ends: Vec<(u32, usize)>,
    alert_bytes_before: usize,
    accepted: Vec<i64>,
}

impl Decisions {
    /// Decides `elements` from `start` on by these rules, giving way to other tasks every 2 ms.
    pub(crate) async fn decide<E: AsRef<[u8]>>(
        &mut self,
        batch: BatchId,
        elements: &[E],
        rules: &Active,
        shared: &Shared,
        options: Options,
    ) {
        self.clear(elements.len());
        let mut slice_start = Instant::now();
        for (index, element) in elements.iter().enumerate() {
            self.decide_one(batch, index, element.as_ref(), rules, shared, options);
            if index % SLICE_CHECK == SLICE_CHECK - 1 && slice_start.elapsed() >= SLICE {
                tokio::task::yield_now().await;
                slice_start = Instant::now();
            }
        }
    }

    /// Declares the next element dead without looking at it.
    pub(crate) fn reject_next(&mut self, rejected: Rejected) {
        self.fates.push(Fate::Dead(rejected));
    }

    /// Decides the next element, whose index is `index`.
    pub(crate) fn decide_one(
        &mut self,
        batch: BatchId,
        index: usize,
        element: &[u8],
        rules: &Active,
        shared: &Shared,
        options: Options,
    ) {
        let (event, text) = match QueuedEvent::parse(element) {
            Ok(parsed) => parsed,
            Err(rejected) => return self.fates.push(Fate::Dead(rejected)),
        };
        self.accepted.extend(event.accepted_at());
        let mut scratch = shared.scratch.borrow_mut();
        scratch.set_now(shared.started.elapsed().as_secs());
        let decision = rules.compiled.decide(&event.view(), &mut scratch);
        if !scratch.shadows().is_empty() {
            count_shadows(&rules.compiled, &scratch, shared);
        }
        drop(scratch);
        let id = event_id(&event, batch, index);
        let fate = match &decision {
            Decision::Handled(handled) if handled.forward => {
                let template = self.template(handled);
                write_alert(&mut self.alerts, &event, text, id, &self.templates[template as usize]);
                self.alert_ends.push((index as u32, self.alerts.len()));
                Fate::Forwarded(template)
            }
            Decision::Handled(_) => Fate::AuditedOnly,
            Decision::Unhandled => Fate::Unhandled(self.group(&event, shared, options.signature_mode)),
        };
        if decision.is_handled() || options.audit_unhandled {
            self.rows.push(&row(id, &event, text, decision.handled(), rules));
            self.row_elements.push(index as u32);
        }
        self.fates.push(fate);
    }

    /// When the events were accepted, see [`QueuedEvent::accepted_at`].
    pub(crate) fn accepted(&self) -> &[i64] {
        &self.accepted
    }

    /// The rows to be audited.
    pub(crate) fn rows(&self) -> &CopyBuffer {
        &self.rows
    }

    /// Takes out rows that PostgreSQL refuses (ascending): their events become dead letters, with no alert and no count.
    pub(crate) fn refuse_rows(&mut self, bad: &[(usize, String)]) {
        for (row, detail) in bad.iter().rev() {
            let element = self.row_elements.remove(*row);
            self.fates[element as usize] = Fate::Dead(Rejected::new(Reason::RefusedByDatabase, detail));
            self.rows.remove(*row);
        }
    }

    /// What the finish owes to Redis.
    pub(crate) fn outbox(&self) -> Outbox {
        let mut outbox = Outbox { templates: self.templates.clone(), ..Outbox::default() };
        let mut elements: Vec<Vec<u32>> = vec![Vec::new(); self.groups.len()];
        for (index, fate) in self.fates.iter().enumerate() {
            let index = index as u32;
            match fate {
                Fate::Forwarded(template) => {
                    outbox.handled += 1;
                    outbox.alerts.push((index, *template));
                }
                Fate::AuditedOnly => outbox.handled += 1,
                Fate::Unhandled(group) => elements[*group as usize].push(index),
                Fate::Dead(rejected) => outbox.dead.push(DeadEntry {
                    element: index,
                    reason: rejected.reason.as_str().to_owned(),
                    detail: rejected.detail.clone(),
                    attempts: rejected.attempts,
                }),
            }
        }
        let groups = self.groups.iter().zip(elements).filter(|(_, elements)| !elements.is_empty());
        outbox.groups = groups
            .map(|((host, signature), elements)| UnhandledGroup {
                host: host.clone(),
                signature: signature.name(),
                elements,
            })
            .collect();
        outbox
    }

    /// The alerts in the order of [`Outbox::alerts`], once; slices of one buffer.
    pub(crate) fn take_alerts(&mut self) -> Vec<Json> {
        self.alert_bytes_before = self.alerts.len();
        let all = Json::from(std::mem::take(&mut self.alerts));
        let mut start = 0;
        let mut alerts = Vec::with_capacity(self.alert_ends.len());
        for (element, end) in &self.alert_ends {
            // One whose row was refused is a dead letter now.
            if matches!(self.fates[*element as usize], Fate::Forwarded(_)) {
                alerts.push(all.slice(start..*end));
            }
            start = *end;
        }
        alerts
    }

    /// Forgets the batch before and makes room for the next one.
    pub(crate) fn clear(&mut self, elements: usize) {
        self.rows.clear();
        self.row_elements.clear();
        self.fates.clear();
        self.fates.reserve(elements);
        self.accepted.clear();
        self.templates.clear();
        self.template_of.clear();
        self.groups.clear();
        self.group_of.clear();
        self.alerts = Vec::with_capacity(self.alert_bytes_before);
        self.alert_ends.clear();
    }

    fn template(&mut self, handled: &Handled<'_>) -> u32 {
        // The rule set outlives the batch's decisions, so an address names a rule.
        let address = std::ptr::from_ref(handled.rule) as usize;
        if let Some(known) = self.template_of.get(&address) {
            return *known;
        }
        let index = self.templates.len() as u32;
        self.templates.push(Template {
            rule: handled.rule.name.clone(),
            team: handled.team.to_owned(),
            severity: handled.alert_severity.as_str().to_owned(),
        });
        self.template_of.insert(address, index);
        index
    }

    fn group(&mut self, event: &QueuedEvent<'_>, shared: &Shared, mode: SignatureMode) -> u32 {
        let signature = shared.signatures.borrow_mut().admit(&event.hostname, &event.message, mode);
        let key = (self.hasher.hash_one(&*event.hostname), signature);
        if let Some(known) = self.group_of.get(&key) {
            return *known;
        }
        let index = self.groups.len() as u32;
        self.groups.push((event.hostname.clone().into_owned(), signature));
        self.group_of.insert(key, index);
        index
    }
}

fn row<'a>(
    id: Uuid,
    event: &'a QueuedEvent<'_>,
    text: &'a str,
    handled: Option<&Handled<'a>>,
    rules: &'a Active,
) -> AuditRow<'a> {
    AuditRow {
        event_timestamp: event.timestamp,
        hostname: &event.hostname,
        matched_rule_id: handled.and_then(|handled| handled.rule.id),
        handling_decision: handled.map_or(UNHANDLED, |handled| handled.handling),
        forwarded_to_moog: handled.is_some_and(|handled| handled.forward),
        raw_message: text,
        received_at: event.received_at.unwrap_or_else(timestamp::now),
        event_id: id,
        correlation_id: event.correlation_id.as_deref(),
        rule_name: handled.map(|handled| handled.rule.name.as_str()),
        rule_revision: rules.revision.as_str(),
        team: handled.map(|handled| handled.team),
    }
}

/// The event's id, or the one that whoever finishes the batch derives alike.
pub(crate) fn event_id(event: &QueuedEvent<'_>, batch: BatchId, index: usize) -> Uuid {
    event.event_id.unwrap_or_else(|| EventId::derived(batch, index).uuid())
}

fn count_shadows(rules: &Compiled, scratch: &Scratch, shared: &Shared) {
    let mut matches = shared.shadow_matches.borrow_mut();
    for rule in scratch.shadows().iter().filter_map(|index| rules.rule(*index)) {
        match matches.get_mut(&rule.name) {
            Some(count) => *count += 1,
            None => drop(matches.insert(rule.name.clone(), 1)),
        }
    }
}
