//! After a restart: the last good forms of rejected rules, from what Redis serves, else from the readable copy.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Client;
use mutt_queue::served_rules;
use mutt_rules::{Rule, RuleSet};

use super::copier::read_copy;
use super::form::Form;
use super::record::Owner;
use super::redis::{Connection, Trouble};
use super::report::Found;

/// Forms of the rules with these names. Those that are nowhere were never good.
pub(super) async fn search(
    client: &Client,
    owner: &Owner,
    lost: &BTreeSet<String>,
    connection: &Connection,
) -> Result<Vec<Found>, Trouble> {
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let in_words = |error| connection.trouble(&error);
    let current = served_rules::current(&connection.redis, &connection.keys).await.map_err(in_words)?;
    let text = match &current {
        Some(revision) => {
            served_rules::bundle(&connection.redis, &connection.keys, revision).await.map_err(in_words)?
        }
        None => None,
    };
    let rules: Vec<Rule> = match text.and_then(|text| RuleSet::from_json(&text).ok()) {
        Some(set) => set.rules().to_vec(),
        None => read_copy(client, owner)
            .await
            .map_err(|error| Trouble::Cluster(format!("the readable copy of the rules cannot be read: {error}")))?,
    };
    let lost = rules.into_iter().filter(|rule| lost.contains(&rule.name));
    Ok(lost.map(|rule| Found(Arc::new(Form::recovered(rule)))).collect())
}
