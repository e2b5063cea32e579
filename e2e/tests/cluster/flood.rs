//! A flood of events that goes on until it is told to ebb, and the proof that each of them was audited once.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mutt_e2e::{Answer, Sender, event, eventually};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::kubectl::apply;
use super::pipeline::{Deployed, INGEST_KEY, rule};

const BATCH: usize = 250;
/// One event of so many becomes an alert: the webhook's rate limit must not be what the test waits for.
const ALERTS: usize = 500;
/// Between two looks while the queue is as long as it shall be.
const PAUSE: Duration = Duration::from_millis(100);

/// What was accepted: the number of each event and the id that the ingestor gave it.
pub(crate) type Accepted = BTreeMap<usize, String>;

/// A sender that keeps the ingest queue at a length.
pub(crate) struct Flood {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Accepted>>,
    task: JoinHandle<()>,
}

impl Flood {
    /// Makes alerters use the rules for the flood's events: most are audited only.
    pub(crate) async fn rules(pipeline: &Deployed) {
        Self::apply_rules(pipeline).await;
        pipeline.rule_active("flood-alert").await;
        pipeline.rule_active("flood-quiet").await;
    }

    /// Applies them; without alerters they do not become active.
    pub(crate) async fn apply_rules(pipeline: &Deployed) {
        let alert = rule(pipeline.namespace, "flood-alert", "contains: FLOOD-ALERT");
        let quiet = rule(pipeline.namespace, "flood-quiet", "contains: FLOOD-QUIET");
        apply(&format!("{alert}{}", quiet.replace("production: Page_and_ticket", "production: Ignore"))).await;
    }

    /// Sends whenever fewer than `level` events wait; the events are numbered from `first` on.
    pub(crate) async fn start(pipeline: &Deployed, level: i64, first: usize) -> Self {
        let sender = Sender::new(&pipeline.ingest_base().await, INGEST_KEY);
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Accepted>>::default());
        let task = tokio::spawn({
            let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
            async move {
                let (mut next, mut depth) = (first, 0);
                while !stop.load(Ordering::Relaxed) {
                    let mut count = BATCH;
                    if depth >= level {
                        tokio::time::sleep(PAUSE).await;
                        // Only to be told the depth.
                        count = 1;
                    }
                    let (ids, told) = send(&sender, next..next + count).await;
                    depth = told;
                    accepted.lock().unwrap().extend((next..).zip(ids));
                    next += count;
                }
            }
        });
        Self { stop, accepted, task }
    }

    /// Number of events accepted so far.
    pub(crate) fn count(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// Ends when the batch in hand is accepted.
    pub(crate) async fn stop(self) -> Accepted {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        std::mem::take(&mut *self.accepted.lock().unwrap())
    }
}

/// Sends a batch until it is accepted; returns the ids and the depth of the queue behind it.
async fn send(sender: &Sender, numbers: Range<usize>) -> (Vec<String>, i64) {
    let events: Vec<Value> = numbers.clone().map(numbered).collect();
    let (body, key) = (json!(events).to_string(), format!("flood-{}", numbers.start));
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key.as_str())];
    loop {
        match sender.post(body.clone(), &headers).await {
            Some(Answer { status: 200, json, .. }) => {
                let ids = json["correlation_ids"].as_array().expect("ids of a batch");
                let ids: Vec<String> = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
                assert_eq!(ids.len(), numbers.len(), "{json}");
                return (ids, json["queue_depth"].as_i64().unwrap_or(0));
            }
            Some(Answer { status, json, .. }) => assert!([429, 503].contains(&status), "refused: {status} {json}"),
            // Its result is not known; the key makes the repeat harmless.
            None => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_alert(number: usize) -> bool {
    number.is_multiple_of(ALERTS)
}

fn host(number: usize) -> String {
    format!("flood-{number}")
}

fn numbered(number: usize) -> Value {
    let word = if is_alert(number) { "FLOOD-ALERT" } else { "FLOOD-QUIET" };
    event(&host(number), &format!("{word} event {number}"))
}

/// Waits until everything is worked off; then proves by ids that each event was audited once and each alert delivered.
pub(crate) async fn prove(pipeline: &Deployed, accepted: &Accepted) {
    eventually("empty queues and no batch in work", async || {
        for (command, key) in
            [("LLEN", "ingest_queue"), ("ZCARD", "leases:alerter"), ("LLEN", "alert_queue"), ("ZCARD", "leases:moog")]
        {
            if pipeline.outside.redis.command(&[command, &format!("mutt:{key}")]).await.unwrap().integer() != 0 {
                return false;
            }
        }
        true
    })
    .await;
    let sql = "SELECT hostname, event_id, forwarded_to_moog, handling_decision FROM event_audit_log WHERE hostname LIKE 'flood-%'";
    let rows = pipeline.outside.postgres.sql("postgres", sql).await.unwrap();
    let mut audited = BTreeMap::new();
    for row in rows.lines() {
        let [host, rest] = row.splitn(2, '|').collect::<Vec<_>>().try_into().unwrap();
        let twice = audited.insert(host.to_owned(), rest.to_owned());
        assert!(twice.is_none(), "{host} was audited twice: {rest} and {twice:?}");
    }
    assert_eq!(audited.len(), accepted.len(), "as many audited as accepted");
    for (number, id) in accepted {
        let decision = if is_alert(*number) { "t|Page_and_ticket" } else { "f|Ignore" };
        assert_eq!(audited.get(&host(*number)), Some(&format!("{id}|{decision}")), "event {number}");
    }
    let alerts: BTreeSet<(String, String)> = accepted
        .iter()
        .filter(|(number, _)| is_alert(**number))
        .map(|(number, id)| (host(*number), id.clone()))
        .collect();
    let delivered: BTreeSet<(String, String)> = pipeline.outside.webhook.with_received(|all| {
        let ours = all.iter().filter(|alert| alert.delivered && alert.text("source_id").starts_with("flood-"));
        ours.map(|alert| (alert.text("source_id").to_owned(), alert.text("external_id").to_owned())).collect()
    });
    assert_eq!(delivered, alerts, "alerts at the webhook");
    books_balance(pipeline).await;
}

/// The running totals agree with each other, and nothing was given up.
async fn books_balance(pipeline: &Deployed) {
    let reply = pipeline.outside.redis.command(&["HGETALL", "mutt:totals"]).await.unwrap().texts();
    let totals: BTreeMap<&str, &str> = reply.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let total = |field| totals.get(field).copied().unwrap_or("0");
    assert_eq!(total("accepted"), total("finished"), "{totals:?}");
    assert_eq!(total("alerts"), total("alerts_delivered"), "{totals:?}");
    assert_eq!((total("dead_lettered"), total("alerts_dead_lettered")), ("0", "0"), "{totals:?}");
    for queue in ["ingest", "alerter", "moog", "dead"] {
        let length = pipeline.outside.redis.command(&["LLEN", &format!("mutt:dlq:{queue}")]).await.unwrap();
        assert_eq!(length.integer(), 0, "dead letters of {queue}");
    }
}

/// Looks, as long as it lives, for batches whose worker went without a word, and for batches that it cost a try.
pub(crate) struct Leases {
    seen: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Leases {
    /// Begins when what an outage before has cost is worked off.
    pub(crate) async fn watch(pipeline: &Arc<Deployed>) -> Self {
        eventually("no batch that was tried before", async || lapsed(pipeline).await.is_empty()).await;
        let seen = Arc::<Mutex<BTreeSet<String>>>::default();
        let task = tokio::spawn({
            let (seen, pipeline) = (Arc::clone(&seen), Arc::clone(pipeline));
            async move {
                loop {
                    let found = lapsed(&pipeline).await;
                    seen.lock().unwrap().extend(found);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Self { seen, task }
    }

    /// What was seen.
    pub(crate) fn stop(self) -> BTreeSet<String> {
        self.task.abort();
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn lapsed(pipeline: &Deployed) -> Vec<String> {
    // A batch that was handed back has the score 0; the time is asked first, so that no lease lapses in between.
    let redis = &pipeline.outside.redis;
    let now = redis.command(&["TIME"]).await.unwrap().texts();
    let now = format!("{}{:03}", now[0], now[1].parse::<u64>().unwrap() / 1000);
    let lapsed = redis.command(&["ZRANGEBYSCORE", "mutt:leases:alerter", "(0", &now]).await.unwrap().texts();
    // phase|tries|element in hand|elements that killed a worker
    let states = redis.command(&["HVALS", "mutt:leases:alerter:state"]).await.unwrap().texts();
    let tried = states.into_iter().filter(|state| state.split('|').nth(1) != Some("0"));
    lapsed
        .into_iter()
        .map(|lease| format!("lapsed: {lease}"))
        .chain(tried.map(|state| format!("tried: {state}")))
        .collect()
}
