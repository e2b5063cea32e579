//! Which rules can never fire because one that is tried before takes all their events, where that can be proven.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::compile::pattern::Pattern;
use crate::fold::fold;
use crate::hosts::Hosts;
use crate::oid;
use crate::spec::{AlertRuleSpec, SeverityMatch};

/// Earlier rules that are looked at for one rule. Thousands of rules with the same text and different hosts would else be
/// compared each with each.
const CANDIDATES_MAX: usize = 64;

/// What a rule takes, in a form in which two can be compared without compiling them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Disabled and shadow rules take nothing away from others.
    takes: bool,
    message: Option<Message>,
    /// Texts of which every message that the rule takes contains one; folded.
    texts: Vec<String>,
    oid: Option<String>,
    severity: Option<SeverityMatch>,
    hosts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Message {
    /// Folded.
    Contains(String),
    Regex(String),
}

impl Claim {
    /// What a rule takes. `pattern` is its compiled message criterion.
    pub(crate) fn new(spec: &AlertRuleSpec, pattern: Option<&Pattern>) -> Self {
        let criterion = spec.matches.message.as_ref();
        let contains = criterion.and_then(|message| message.contains.as_deref()).map(fold);
        let regex = criterion.and_then(|message| message.regex.clone());
        let required = || pattern.and_then(|pattern| pattern.required().first()).into_iter().flatten();
        let texts = match &contains {
            Some(text) => vec![text.clone()],
            None => required().map(ToString::to_string).collect(),
        };
        Self {
            takes: spec.is_active(),
            message: contains.map(Message::Contains).or(regex.map(Message::Regex)),
            texts,
            oid: spec.matches.trap_oid.as_deref().map(|oid| oid::normalize(oid).to_owned()),
            severity: spec.matches.severity.clone(),
            hosts: spec.matches.hosts.iter().map(|host| host.trim().to_ascii_lowercase()).collect(),
        }
    }

    /// Whether this rule, tried before, takes every event that `later` takes.
    fn covers(&self, later: &Self) -> bool {
        self.takes
            && severity_covers(self.severity.as_ref(), later.severity.as_ref())
            && self.covers_oid(later)
            && self.covers_message(later)
            && hosts_cover(&self.hosts, &later.hosts)
    }

    fn covers_oid(&self, later: &Self) -> bool {
        match (&self.oid, &later.oid) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(prefix), Some(oid)) => oid::is_prefix(prefix, oid),
        }
    }

    fn covers_message(&self, later: &Self) -> bool {
        match (&self.message, &later.message) {
            (None, None) => true,
            // With a message criterion the later rule takes events without an OID, too.
            (None, Some(_)) | (Some(_), None) => false,
            (Some(Message::Contains(text)), Some(_)) => {
                !later.texts.is_empty() && later.texts.iter().all(|longer| longer.contains(text))
            }
            (Some(regex), Some(other)) => regex == other,
        }
    }
}

fn severity_covers(earlier: Option<&SeverityMatch>, later: Option<&SeverityMatch>) -> bool {
    let (Some(earlier), later) = (earlier, later) else { return true };
    let Some(later) = later else { return false };
    match (earlier.equals, earlier.at_most, later.equals.or(later.at_most)) {
        (Some(value), _, _) => later.equals == Some(value),
        (None, Some(bound), Some(value)) => value <= bound,
        (None, _, _) => false,
    }
}

fn hosts_cover(earlier: &[String], later: &[String]) -> bool {
    if earlier.is_empty() {
        return true;
    }
    let others: Vec<&String> = later.iter().filter(|entry| !earlier.contains(entry)).collect();
    if later.is_empty() || others.is_empty() {
        return !later.is_empty();
    }
    // Names that a glob takes; a glob within a glob is not proven.
    let has_globs = earlier.iter().any(|entry| entry.contains(['*', '?', '[', '{']));
    has_globs && Hosts::new(earlier).is_ok_and(|hosts| others.iter().all(|entry| hosts.take_plain_name(entry)))
}

/// For each rule, in the order in which they are tried, the index of the first rule before it that takes all its events;
/// `None` where there is none or where it cannot be proven: only the same regex, the same or a contained text, and OID
/// prefixes are compared.
pub fn shadowed(claims: &[&Claim]) -> Vec<Option<usize>> {
    let index = Index::new(claims);
    claims.iter().enumerate().map(|(at, claim)| index.first_cover(claims, at, claim)).collect()
}

/// Rules that take events, by what a candidate must have in common with a later rule.
struct Index<'c> {
    by_text: Vec<Vec<usize>>,
    texts: Option<AhoCorasick>,
    by_regex: HashMap<&'c str, Vec<usize>>,
    by_lone_oid: HashMap<&'c str, Vec<usize>>,
}

impl<'c> Index<'c> {
    fn new(claims: &[&'c Claim]) -> Self {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let (mut texts, mut by_text): (Vec<&str>, Vec<Vec<usize>>) = (Vec::new(), Vec::new());
        let mut by_regex: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut by_lone_oid: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, claim) in claims.iter().enumerate().filter(|(_, claim)| claim.takes) {
            match (&claim.message, &claim.oid) {
                (Some(Message::Contains(text)), _) => {
                    let number = *numbers.entry(text).or_insert_with(|| {
                        texts.push(text);
                        by_text.push(Vec::new());
                        texts.len() - 1
                    });
                    by_text[number].push(at);
                }
                (Some(Message::Regex(regex)), _) => by_regex.entry(regex).or_default().push(at),
                (None, Some(oid)) => by_lone_oid.entry(oid).or_default().push(at),
                (None, None) => {}
            }
        }
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::Standard)
            .build(&texts)
            .ok();
        Self { by_text, texts: automaton, by_regex, by_lone_oid }
    }

    fn first_cover(&self, claims: &[&Claim], at: usize, claim: &Claim) -> Option<usize> {
        let mut candidates = Candidates { before: at, found: Vec::new() };
        // A text that all texts contain is in the first.
        if let (Some(automaton), Some(text)) = (&self.texts, claim.texts.first()) {
            let mut seen = Vec::new();
            for found in automaton.find_overlapping_iter(text) {
                let number = found.pattern().as_usize();
                if !seen.contains(&number) {
                    seen.push(number);
                    candidates.add(&self.by_text[number]);
                }
            }
        }
        if let Some(Message::Regex(regex)) = &claim.message {
            candidates.add(self.by_regex.get(&**regex).map_or(&[], |rules| rules));
        }
        if let (None, Some(oid)) = (&claim.message, &claim.oid) {
            for (end, _) in oid.match_indices('.').chain([(oid.len(), "")]) {
                candidates.add(self.by_lone_oid.get(&oid[..end]).map_or(&[], |rules| rules));
            }
        }
        candidates.found.sort_unstable();
        candidates.found.into_iter().take(CANDIDATES_MAX).find(|earlier| claims[*earlier].covers(claim))
    }
}

/// Rules before the one in question.
struct Candidates {
    before: usize,
    found: Vec<usize>,
}

impl Candidates {
    /// Takes in the first of an ascending list.
    fn add(&mut self, rules: &[usize]) {
        self.found.extend(rules.iter().take_while(|rule| **rule < self.before).take(CANDIDATES_MAX));
    }
}
