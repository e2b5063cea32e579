//! Why a rule takes an event or does not: its criteria one by one, each asked of the matcher itself.

use std::fmt;

use mutt_rules::{AlertRuleSpec, Compiled, Event, Match, MessageMatch, Mode, Rule, RuleSet, Scratch, SeverityMatch};
use serde::Serialize;

/// Characters of a pattern that are shown.
const SHOWN_CHARS_MAX: usize = 100;
/// Bytes of the message that stand for "always matches"; the limit of `contains` is higher.
const ALWAYS_BYTES_MAX: usize = 200;

/// One criterion of a rule and whether it holds.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Criterion {
    /// What is asked.
    pub(super) asked: String,
    /// Whether the event meets it.
    pub(super) holds: bool,
    /// What the event has.
    pub(super) event: String,
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.holds { "yes" } else { "no " };
        write!(f, "{sign} {} (event: {})", self.asked, self.event)
    }
}

/// The criteria of a rule, each on its own. A rule that is switched off says so first.
pub(super) fn criteria(spec: &AlertRuleSpec, event: &Event<'_>) -> Vec<Criterion> {
    let mut found = Vec::new();
    if !spec.enabled {
        found.push(Criterion { asked: "enabled".into(), holds: false, event: "any".into() });
    }
    if spec.mode == Mode::Shadow {
        found.push(Criterion { asked: "mode Active".into(), holds: false, event: "any".into() });
    }
    let matches = &spec.matches;
    if let Some(message) = &matches.message {
        let criterion = match (&message.contains, &message.regex) {
            (Some(text), _) => format!("message contains '{}'", shown(text)),
            (None, regex) => format!("message matches /{}/", shown(regex.as_deref().unwrap_or_default())),
        };
        let alone = Match { message: Some(message.clone()), ..Match::default() };
        let event_has = format!("'{}'", shown(event.message));
        found.push(Criterion { asked: criterion, holds: takes(spec, alone, event), event: event_has });
    }
    // On an event without an OID, a rule with a message criterion is decided by the message.
    if let Some(oid) = matches.trap_oid.as_ref().filter(|_| event.trap_oid.is_some() || matches.message.is_none()) {
        let alone = Match { trap_oid: Some(oid.clone()), ..Match::default() };
        let event_has = event.trap_oid.unwrap_or("no trap_oid").to_owned();
        found.push(Criterion {
            asked: format!("trap OID below {oid}"),
            holds: takes(spec, alone, event),
            event: event_has,
        });
    }
    if let Some(severity) = &matches.severity {
        let alone = Match { severity: Some(severity.clone()), ..always(event) };
        let event_has = event.syslog_severity.map_or("no severity".to_owned(), |number| number.to_string());
        found.push(Criterion { asked: wanted(severity), holds: takes(spec, alone, event), event: event_has });
    }
    if !matches.hosts.is_empty() {
        let alone = Match { hosts: matches.hosts.clone(), ..always(event) };
        let address = event.source_ip.map(|address| format!(", {address}")).unwrap_or_default();
        found.push(Criterion {
            asked: format!("host is one of {}", shown(&matches.hosts.join(", "))),
            holds: takes(spec, alone, event),
            event: format!("{}{address}", event.hostname),
        });
    }
    found
}

fn wanted(severity: &SeverityMatch) -> String {
    match (severity.equals, severity.at_most) {
        (Some(number), _) => format!("severity is {number}"),
        (None, number) => format!("severity is at most {}", number.unwrap_or_default()),
    }
}

/// A message criterion that this event meets: its own beginning.
fn always(event: &Event<'_>) -> Match {
    let mut end = event.message.len().min(ALWAYS_BYTES_MAX);
    while !event.message.is_char_boundary(end) {
        end -= 1;
    }
    let own = event.message.get(..end).unwrap_or_default().to_owned();
    Match { message: Some(MessageMatch { contains: Some(own), regex: None }), ..Match::default() }
}

/// Whether a rule with these criteria only takes the event.
fn takes(spec: &AlertRuleSpec, matches: Match, event: &Event<'_>) -> bool {
    let spec = AlertRuleSpec { enabled: true, mode: Mode::Active, matches, tests: Vec::new(), ..spec.clone() };
    let set = RuleSet::new(vec![Rule { id: None, name: "criterion".into(), spec }], [], []);
    Compiled::build(&set, None).decide(event, &mut Scratch::default()).is_handled()
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
