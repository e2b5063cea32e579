//! The readable copy of a pipeline's rules: AlertRule documents in ConfigMaps `<pipeline>-rules-<shard>`, for people,
//! audits and disaster recovery; `mutt rules apply` reads them. Pure.
//!
//! A rule's shard follows from a hash of its name, so a changed rule changes one ConfigMap. The number of shards is a
//! power of two that only grows: with each doubling about half of the rules move.

use std::collections::BTreeMap;

use mutt_rules::{API_VERSION, AlertRule, PipelineSpecView, TeamHosts, hex};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::board::PipelineKey;
use super::index::PipelineSet;

/// Bytes of one ConfigMap's data; Kubernetes takes 1 MiB, and a client-side apply keeps a second copy.
pub(super) const SHARD_BYTES_MAX: usize = 512 << 10;
/// Shards at most: 32 MiB of rules.
const SHARDS_MAX: usize = 64;
/// A document that would not leave a shard room for others is left out; its AlertRule has it.
const DOCUMENT_BYTES_MAX: usize = SHARD_BYTES_MAX / 2;

/// The data of one ConfigMap: file name → text.
pub(super) type Shard = BTreeMap<String, String>;

/// All ConfigMaps' data by the last part of their names: shard numbers, and `pipeline` for hosts and teams. `shards_min`
/// is how many shards there are already.
pub(super) fn shards(key: &PipelineKey, set: &PipelineSet, shards_min: usize) -> BTreeMap<String, Shard> {
    let documents: Vec<(u64, String)> =
        set.forms.iter().map(|form| (hash(form.name()), document(form.name(), &rule(form)))).collect();
    let mut count = shards_min.next_power_of_two().min(SHARDS_MAX);
    loop {
        let mut texts = vec![String::new(); count];
        for (hash, document) in &documents {
            texts[(*hash % count as u64) as usize].push_str(document);
        }
        if count < SHARDS_MAX && texts.iter().any(|text| text.len() > SHARD_BYTES_MAX) {
            count *= 2;
            continue;
        }
        let named = |(number, text): (usize, String)| (number.to_string(), file("rules.yaml", text));
        let mut shards: BTreeMap<String, Shard> = texts.into_iter().enumerate().map(named).collect();
        shards.insert("pipeline".to_owned(), file("pipeline.yaml", document("spec", &pipeline(key, set))));
        return shards;
    }
}

fn file(name: &str, text: String) -> Shard {
    BTreeMap::from([(name.to_owned(), text)])
}

/// SHA-256 of a ConfigMap's data: the annotation by which a copy is known to be right without reading it.
pub(super) fn content_hash(shard: &Shard) -> String {
    let mut digest = Sha256::new();
    for (name, text) in shard {
        digest.update(name);
        digest.update([0]);
        digest.update(text);
        digest.update([0]);
    }
    hex(&digest.finalize()[..8])
}

fn rule(form: &super::form::Form) -> AlertRule {
    let (namespace, name) = form.name().split_once('/').unwrap_or(("default", form.name()));
    AlertRule::new(name, Some(namespace.to_owned()), form.rule.spec.clone())
}

/// Development hosts and teams, as `RULES_SOURCE=dir` takes them.
fn pipeline(key: &PipelineKey, set: &PipelineSet) -> Value {
    let mut hosts_of: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (host, team) in &set.settings.teams {
        hosts_of.entry(team).or_default().push(host.clone());
    }
    let teams = hosts_of.into_iter().map(|(team, hosts)| TeamHosts { team: team.to_owned(), hosts });
    let spec = PipelineSpecView {
        development_hosts: set.settings.development_hosts.iter().cloned().collect(),
        teams: teams.collect(),
    };
    let metadata = json!({"name": key.name, "namespace": key.namespace});
    json!({"apiVersion": API_VERSION, "kind": "MuttPipeline", "metadata": metadata, "spec": spec})
}

/// One YAML document; JSON is YAML, and quotes whatever needs it.
fn document(name: &str, object: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(object)
        .unwrap_or_else(|error| unreachable!("strings and numbers always serialise: {error}"));
    if json.len() > DOCUMENT_BYTES_MAX {
        return format!("# {name} has {} bytes, too many for this copy\n", json.len());
    }
    format!("---\n{json}\n")
}

/// Of a name; must never change, since it says where a rule lies.
fn hash(name: &str) -> u64 {
    let digest = Sha256::digest(name);
    digest[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::{BTreeSet, HashMap};
    use std::sync::Arc;

    use mutt_rules::{RuleSet, parse_documents, synthetic};

    use super::super::form::Form;
    use super::super::index::PipelineSettings;
    use super::*;

    fn set(rules: &RuleSet) -> PipelineSet {
        let settings = PipelineSettings {
            redis: mutt_crds::pipeline::RedisSpec::default(),
            development_hosts: BTreeSet::from(["lab-1".to_owned()]),
            teams: BTreeMap::from([("core-1".to_owned(), "NETO".to_owned()), ("core-2".to_owned(), "NETO".to_owned())]),
        };
        let form = |mut rule: mutt_rules::Rule| {
            (rule.id, rule.name) = (None, format!("ns/{}", rule.name.replace('/', "-")));
            let claim = mutt_rules::examine("x", &rules.rules()[0].spec).claim;
            Arc::new(Form::new(rule, claim))
        };
        let forms: Vec<_> = rules.rules().iter().cloned().map(form).collect();
        let (accepted, lost) = (forms.len(), BTreeSet::new());
        PipelineSet {
            uid: "u".into(),
            version: 1,
            created: None,
            withheld: None,
            selector_error: None,
            settings: Arc::new(settings),
            forms,
            lost,
            accepted,
            rejected: 0,
        }
    }

    fn places(shards: &BTreeMap<String, Shard>) -> HashMap<String, String> {
        let documents = shards.iter().flat_map(|(shard, files)| {
            files.values().flat_map(|text| parse_documents(text, "copy").unwrap()).map(move |d| (shard.clone(), d))
        });
        documents
            .filter_map(|(shard, document)| match document.object {
                mutt_rules::Object::AlertRule(rule) => Some((rule.qualified_name(), shard)),
                mutt_rules::Object::MuttPipeline(_) => None,
            })
            .collect()
    }

    #[test]
    fn the_copy_reads_back_as_the_same_rule_set_and_no_shard_is_too_large() {
        let mut set = set(&synthetic::rules(3_000, 7));
        let form = Arc::clone(&set.forms[0]);
        let mut odd = form.rule.clone();
        odd.name = "ns/odd".to_owned();
        odd.spec.description = "quotes \" and ' : # --- \n---\nü \u{1}".to_owned();
        set.forms[0] = Arc::new(Form::new(odd, form.claim.clone()));
        let key = PipelineKey::new("ns", "core");
        let copy = shards(&key, &set, 1);
        assert!(copy.len() > 3, "{}", copy.len());
        assert!(copy.values().flat_map(BTreeMap::values).all(|text| text.len() <= SHARD_BYTES_MAX));
        let documents =
            copy.values().flat_map(BTreeMap::values).flat_map(|text| parse_documents(text, "copy").unwrap());
        let read = RuleSet::from_documents(documents);
        let rules = set.forms.iter().map(|form| form.rule.clone()).collect();
        let settings = set.settings.as_ref().clone();
        assert_eq!(read, RuleSet::new(rules, settings.development_hosts, settings.teams));
    }

    #[test]
    fn a_rule_stays_in_its_shard_while_their_number_stays() {
        let (key, all) = (PipelineKey::new("ns", "core"), set(&synthetic::rules(400, 7)));
        let before = shards(&key, &all, 4);
        assert_eq!(before.len(), 5);
        let mut fewer = all.clone();
        let gone = fewer.forms.remove(17);
        let after = shards(&key, &fewer, 4);
        assert_eq!(before.iter().filter(|(name, shard)| after[*name] != **shard).count(), 1, "one shard changes");
        let (mut before, after) = (places(&before), places(&after));
        before.remove(gone.name());
        assert_eq!(before, after);
        assert_eq!(shards(&key, &fewer, 3).len(), 5, "the number only grows, to powers of two");
        assert_ne!(content_hash(&shards(&key, &all, 1)["0"]), content_hash(&shards(&key, &fewer, 1)["0"]));
    }
}
