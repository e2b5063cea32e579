//! What was accepted, and the proof that it all arrived.
//!
//! Every event carries a number of its own as its host name; even numbers match the rule and are forwarded.

use std::collections::{BTreeMap, BTreeSet};

use mutt_e2e::{Pipeline, event, eventually};
use serde_json::{Value, json};

/// The event of a number.
pub(crate) fn numbered(number: usize) -> Value {
    let word = if forwards(number) { "ALERT" } else { "quiet" };
    event(&host(number), &format!("{word} event {number}"))
}

/// Several events as one request.
pub(crate) fn batch(numbers: impl IntoIterator<Item = usize>) -> Value {
    json!(numbers.into_iter().map(numbered).collect::<Vec<_>>())
}

/// The host name of a number.
pub(crate) fn host(number: usize) -> String {
    format!("host-{number}")
}

fn forwards(number: usize) -> bool {
    number.is_multiple_of(2)
}

/// Waits until as many events are audited as were accepted and their alerts delivered; then proves by ids that each
/// was audited exactly once and that each alert came at least once, always under the event's own id.
pub(crate) async fn prove(pipeline: &Pipeline, accepted: &BTreeSet<usize>) {
    let wanted = i64::try_from(accepted.len()).unwrap();
    eventually(&format!("{wanted} audit rows"), async || {
        pipeline.number("SELECT count(DISTINCT hostname) FROM event_audit_log").await >= Some(wanted)
    })
    .await;
    let alerts = accepted.iter().filter(|number| forwards(**number)).count();
    eventually(&format!("{alerts} alerts at the webhook"), async || delivered(pipeline).len() >= alerts).await;
    // Nothing may come a second time while what is left in the queues is worked off.
    eventually("empty queues", async || pipeline.length("mutt:ingest_queue").await == 0).await;
    eventually("no batch in work", async || leases(pipeline).await == 0).await;

    let rows = pipeline.sql("SELECT hostname, event_id, forwarded_to_moog FROM event_audit_log").await;
    let mut audited: BTreeMap<String, (String, bool)> = BTreeMap::new();
    for row in rows.lines() {
        let [host, id, forwarded] = row.split('|').collect::<Vec<_>>().try_into().unwrap();
        let twice = audited.insert(host.to_owned(), (id.to_owned(), forwarded == "t"));
        assert!(twice.is_none(), "{host} was audited twice: {id} and {twice:?}");
    }
    let expected: BTreeSet<String> = accepted.iter().map(|number| host(*number)).collect();
    let found: BTreeSet<String> = audited.keys().cloned().collect();
    assert_eq!(expected.difference(&found).count(), 0, "accepted and not audited");
    assert_eq!(found.difference(&expected).count(), 0, "audited and never accepted");

    let delivered = delivered(pipeline);
    for number in accepted {
        let (id, forwarded) = &audited[&host(*number)];
        assert_eq!(*forwarded, forwards(*number), "decision for event {number}");
        if *forwarded {
            let ids = delivered.get(&host(*number)).expect("an alert is missing");
            assert_eq!(ids.iter().collect::<Vec<_>>(), [id], "external_id of event {number}");
        }
    }
    assert_eq!(delivered.len(), alerts, "alerts for events that were never accepted");
    for dead_letters in ["mutt:dlq:alerter", "mutt:dlq:moog", "mutt:dlq:ingest"] {
        assert_eq!(pipeline.length(dead_letters).await, 0, "{dead_letters}");
    }
}

/// The delivered alerts: host → the external ids it came with.
fn delivered(pipeline: &Pipeline) -> BTreeMap<String, BTreeSet<String>> {
    pipeline.webhook.with_received(|received| {
        let mut hosts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for alert in received.iter().filter(|alert| alert.delivered) {
            hosts.entry(alert.text("source_id").to_owned()).or_default().insert(alert.text("external_id").to_owned());
        }
        hosts
    })
}

async fn leases(pipeline: &Pipeline) -> i64 {
    let reply = pipeline.redis.command(&["ZCARD", "mutt:leases:alerter"]).await;
    reply.map_or(-1, |reply| reply.integer())
}
