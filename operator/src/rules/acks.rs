//! Which form of which rule is in use where: what a pipeline's alerters acknowledged, held against the set in which each
//! rule's present form appeared first. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use mutt_crds::PipelineBinding;

use super::index::PipelineSet;

/// What a pipeline's task knows of its alerters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Alerters {
    /// Live alerters, with the version of the set that each uses; none = one from before, or nothing yet.
    pub(super) versions: BTreeMap<String, Option<u64>>,
    /// Rules that an alerter does not use as written: version of its set and reason, by rule.
    pub(super) refused: BTreeMap<String, (u64, String)>,
    /// Whether the present set could not be published.
    pub(super) in_trouble: bool,
    /// Whether it is known what Redis served when the operator started: last good forms may come from there.
    pub(super) searched: bool,
}

/// The state of one rule in one pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    /// Hash of the form that is served, if one is.
    pub(super) hash: Option<String>,
    /// Whether alerters use it.
    pub(super) use_: Use,
}

/// Whether alerters use a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Use {
    /// All did when it became active; `2/2`.
    Active(String),
    /// Some do not yet.
    Waiting(Waiting),
    /// An alerter cannot use it, for this reason.
    Refused(String),
    /// Nothing is served for this rule.
    None,
    /// What is served for this rule is not known yet.
    Unknown,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Since when.
    pub(super) since: Instant,
    /// Alerters that use the form.
    pub(super) active: usize,
    /// Live alerters.
    pub(super) alive: usize,
    /// Live alerters that do not use it.
    pub(super) laggards: Vec<String>,
    /// Whether it could not be published.
    pub(super) in_trouble: bool,
}

#[derive(Debug)]
struct Placed {
    hash: String,
    /// Set in which this form appeared first.
    version: u64,
    since: Instant,
    /// `2/2`, once all live alerters had it.
    active: Option<String>,
}

/// The rules of one pipeline and how far each has come.
#[derive(Debug, Default)]
pub(super) struct Track {
    placed: HashMap<String, Placed>,
    alerters: Alerters,
    waiting: usize,
}

impl Track {
    /// Takes in a new set. `known` is what a rule's status says about this pipeline: after a restart of the operator,
    /// what was active is not asked for again. Returns the rules whose form changed.
    pub(super) fn replace<'k>(
        &mut self,
        set: &PipelineSet,
        now: Instant,
        known: impl Fn(&str) -> Option<&'k PipelineBinding>,
    ) -> Vec<String> {
        let mut changed = Vec::new();
        let mut before = std::mem::take(&mut self.placed);
        for form in &set.forms {
            let same = before.remove(form.name()).filter(|placed| placed.hash == form.hash);
            let placed = same.unwrap_or_else(|| {
                changed.push(form.name().to_owned());
                let known = known(form.name()).filter(|known| known.hash.as_deref() == Some(&*form.hash));
                let active = known.and_then(|known| known.active.clone()).filter(|count| is_full(count));
                Placed { hash: form.hash.clone(), version: set.version, since: now, active }
            });
            self.placed.insert(form.name().to_owned(), placed);
        }
        changed.extend(before.into_keys());
        self.count_waiting();
        changed
    }

    /// Takes in what the alerters said. Returns the rules whose state changed.
    pub(super) fn heard(&mut self, alerters: Alerters) -> Vec<String> {
        let mut changed: Vec<String> = Vec::new();
        let differs = |rule: &&String| alerters.refused.get(*rule) != self.alerters.refused.get(*rule);
        changed.extend(alerters.refused.keys().chain(self.alerters.refused.keys()).filter(differs).cloned());
        let (reason, searched) = (self.reason(), self.alerters.searched);
        self.alerters = alerters;
        if self.reason() != reason || self.alerters.searched != searched {
            changed.extend(self.waiting().cloned());
        }
        let alive = self.alerters.versions.len();
        // An alerter without a version has none of our sets.
        let oldest = self.alerters.versions.values().map(|version| version.unwrap_or(0)).min().unwrap_or(0);
        for (name, placed) in &mut self.placed {
            if placed.active.is_none() && alive > 0 && oldest >= placed.version {
                placed.active = Some(format!("{alive}/{alive}"));
                changed.push(name.clone());
            }
        }
        self.count_waiting();
        changed
    }

    /// What is known about one rule.
    pub(super) fn binding(&self, name: &str) -> Binding {
        let Some(placed) = self.placed.get(name) else {
            let use_ = if self.alerters.searched { Use::None } else { Use::Unknown };
            return Binding { hash: None, use_ };
        };
        let refused = self.alerters.refused.get(name).filter(|(version, _)| *version >= placed.version);
        let use_ = match (refused, &placed.active) {
            (Some((_, reason)), _) => Use::Refused(reason.clone()),
            (None, Some(active)) => Use::Active(active.clone()),
            (None, None) => Use::Waiting(self.waiting_for(placed)),
        };
        Binding { hash: Some(placed.hash.clone()), use_ }
    }

    fn waiting_for(&self, placed: &Placed) -> Waiting {
        let lags = |version: &Option<u64>| version.is_none_or(|version| version < placed.version);
        let laggards = self.alerters.versions.iter().filter(|(_, version)| lags(version));
        let laggards: Vec<String> = laggards.map(|(worker, _)| worker.clone()).collect();
        let alive = self.alerters.versions.len();
        Waiting {
            since: placed.since,
            active: alive - laggards.len(),
            alive,
            laggards,
            in_trouble: self.alerters.in_trouble,
        }
    }

    /// Whether waiting rules are waiting for another reason than before.
    fn reason(&self) -> (bool, bool) {
        (self.alerters.in_trouble, self.alerters.versions.is_empty())
    }

    fn count_waiting(&mut self) {
        self.waiting = self.placed.values().filter(|placed| placed.active.is_none()).count();
    }

    /// Rules whose present form was active on all live alerters.
    pub(super) fn active(&self) -> usize {
        self.placed.len() - self.waiting
    }

    /// Rules that wait for an alerter.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &String> {
        self.placed.iter().filter(|(_, placed)| self.waiting > 0 && placed.active.is_none()).map(|(name, _)| name)
    }
}

/// Whether `2/2` says that all had it; `1/2` stands for one that lagged.
fn is_full(count: &str) -> bool {
    count.split_once('/').is_some_and(|(active, alive)| active == alive && active != "0")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use mutt_rules::Rule;
    use serde_json::json;

    use super::super::form::Form;
    use super::super::index::PipelineSettings;
    use super::*;

    fn set(version: u64, rules: &[(&str, &str)]) -> PipelineSet {
        let form = |(name, text): &(&str, &str)| {
            let spec = json!({"match": {"message": {"contains": text}}, "team": "T",
                              "handling": {"production": "Ignore", "development": "Ignore"}});
            let spec = serde_json::from_value(spec).unwrap();
            Arc::new(Form::recovered(Rule { id: None, name: (*name).to_owned(), spec }))
        };
        let settings = PipelineSettings {
            redis: mutt_crds::pipeline::RedisSpec::default(),
            development_hosts: BTreeSet::new(),
            teams: BTreeMap::new(),
        };
        PipelineSet {
            uid: "u".into(),
            version,
            created: None,
            withheld: None,
            selector_error: None,
            settings: Arc::new(settings),
            forms: rules.iter().map(form).collect(),
            lost: BTreeSet::new(),
            accepted: rules.len(),
            rejected: 0,
        }
    }

    fn alerters(versions: &[(&str, Option<u64>)]) -> Alerters {
        let versions = versions.iter().map(|(worker, version)| ((*worker).to_owned(), *version)).collect();
        Alerters { versions, searched: true, ..Alerters::default() }
    }

    #[test]
    fn a_rule_is_active_when_all_live_alerters_have_the_set_of_its_form_and_stays_so() {
        let (mut track, now) = (Track::default(), Instant::now());
        assert_eq!(track.replace(&set(1, &[("a", "x"), ("b", "y")]), now, |_| None), ["a", "b"]);
        let Use::Waiting(waiting) = track.binding("a").use_ else { panic!() };
        assert_eq!((waiting.active, waiting.alive), (0, 0), "no workers");
        assert_eq!(track.heard(alerters(&[("w1", Some(1)), ("w2", None)])).len(), 2, "they wait for another reason");
        let Use::Waiting(waiting) = track.binding("a").use_ else { panic!() };
        assert_eq!((waiting.active, waiting.alive, waiting.laggards), (1, 2, vec!["w2".to_owned()]));
        let mut changed = track.heard(alerters(&[("w1", Some(1)), ("w2", Some(1))]));
        changed.sort();
        assert_eq!(changed, ["a", "b"]);
        assert_eq!(track.binding("a").use_, Use::Active("2/2".into()));
        // Another rule's change and another alerter do not touch it.
        assert_eq!(track.replace(&set(2, &[("a", "x"), ("b", "z")]), now, |_| None), ["b"]);
        assert!(track.heard(alerters(&[("w1", Some(1)), ("w2", Some(1)), ("w3", None)])).is_empty());
        assert_eq!(track.binding("a").use_, Use::Active("2/2".into()));
        assert_eq!((track.active(), track.waiting().cloned().collect()), (1, vec!["b".to_owned()]));
        // One that uses a still later set has it too.
        assert_eq!(track.heard(alerters(&[("w1", Some(3)), ("w2", Some(2)), ("w3", Some(4))])), ["b"]);
        assert_eq!(track.binding("b").use_, Use::Active("3/3".into()));
        assert_eq!(track.replace(&set(3, &[("a", "x")]), now, |_| None), ["b"]);
        assert_eq!(track.binding("b"), Binding { hash: None, use_: Use::None });
    }

    #[test]
    fn what_the_status_says_is_not_asked_for_again() {
        let set = set(1, &[("a", "x"), ("b", "y")]);
        let hash = set.forms[0].hash.clone();
        let known = PipelineBinding { name: "ns/p".into(), hash: Some(hash), active: Some("2/2".into()) };
        let mut track = Track::default();
        track.replace(&set, Instant::now(), |_| Some(&known));
        assert_eq!(track.binding("a").use_, Use::Active("2/2".into()));
        assert!(matches!(track.binding("b").use_, Use::Waiting(_)), "another form was active");
    }

    #[test]
    fn a_refusal_counts_while_it_lasts_and_only_for_the_form_it_is_about() {
        let mut track = Track::default();
        track.replace(&set(1, &[("a", "x")]), Instant::now(), |_| None);
        let mut said = alerters(&[("w1", Some(1))]);
        said.refused.insert("a".into(), (1, "too large".into()));
        assert!(track.heard(said.clone()).contains(&"a".to_owned()));
        assert_eq!(track.binding("a").use_, Use::Refused("too large".into()));
        track.replace(&set(2, &[("a", "z")]), Instant::now(), |_| None);
        track.heard(said);
        assert!(matches!(track.binding("a").use_, Use::Waiting(_)), "said of the form before");
        assert!(track.heard(alerters(&[("w1", Some(2))])).contains(&"a".to_owned()));
        assert_eq!(track.binding("a").use_, Use::Active("1/1".into()));
    }
}
