//! Dead letters against a real Redis: what leaves a DLQ is in exactly one other place, and counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use mutt_queue::dlq::{Counts, Dlq, Dlqs, Filter, Treatment};
use mutt_queue::envelope::{self, Kind};
use mutt_queue::{Keys, Redis, RedisSettings, Totals, redis, totals};
use mutt_servers::RedisServer;

const NOW: &str = "2026-01-02T03:04:05.000000Z";

struct Bench {
    _server: RedisServer,
    redis: Redis,
    dlqs: Dlqs,
}

impl Bench {
    async fn new() -> Self {
        let server = RedisServer::start().await.unwrap();
        let mut settings = RedisSettings::from_url(&server.url()).unwrap();
        settings.response_timeout = Duration::from_mins(1);
        settings.connect_timeout = Duration::from_mins(1);
        let redis = Redis::new(settings);
        let dlqs = Dlqs::new(redis.clone(), Arc::new(Keys::new("t")));
        Self { _server: server, redis, dlqs }
    }

    async fn letter(&self, dlq: Dlq, kind: Kind, body: &str) {
        let total = match (dlq, kind) {
            (Dlq::Ingest, _) => totals::REJECTED,
            (_, Kind::Event) => totals::DEAD_LETTERED,
            (_, Kind::Alert) => totals::ALERTS_DEAD_LETTERED,
        };
        let letter = envelope::build(kind, body.as_bytes(), "http", "500", 6, NOW);
        let mut pipe = redis::pipe();
        pipe.atomic().lpush(dlq.key(&Keys::new("t")), letter).hincr("t:totals", total, 1);
        self.redis.pipeline::<redis::Value>(&pipe).await.unwrap();
    }

    async fn all(&self, dlq: Dlq, filter: Filter, treatment: Treatment, most: Option<u64>, step: u64) -> Counts {
        let mut walk = self.dlqs.walk(dlq, filter, treatment, most).await.unwrap();
        let mut sum = Counts::default();
        while let Some(counts) = self.dlqs.step(&mut walk, step, NOW).await.unwrap() {
            sum.add(counts);
        }
        sum
    }

    async fn list(&self, key: &str) -> Vec<String> {
        self.redis.query(redis::cmd("LRANGE").arg(key).arg(0).arg(-1)).await.unwrap()
    }

    /// Every letter that was ever written is in a DLQ, or was replayed or purged.
    async fn assert_balance(&self) {
        let all = Totals::read(&self.redis, &Keys::new("t")).await.unwrap();
        let written =
            all.count(totals::REJECTED) + all.count(totals::DEAD_LETTERED) + all.count(totals::ALERTS_DEAD_LETTERED);
        let left = all.count(totals::REPLAYED)
            + all.count(totals::ALERTS_REPLAYED)
            + all.count(totals::PURGED)
            + all.count(totals::ALERTS_PURGED);
        assert_eq!(written - left, all.dlq_ingest + all.dlq_alerter + all.dlq_moog + all.dlq_dead);
        assert_eq!(all.count(totals::REPLAYED), all.ingest_queue);
        assert_eq!(all.count(totals::ALERTS_REPLAYED), all.alert_queue);
    }
}

#[tokio::test]
async fn each_goes_back_to_its_queue_oldest_first() {
    let bench = Bench::new().await;
    for number in 0..120 {
        bench.letter(Dlq::Moog, Kind::Alert, &format!(r#"{{"n":{number},"_attempts":6}}"#)).await;
    }
    bench.letter(Dlq::Alerter, Kind::Event, r#"{"hostname":"h","_event_id":"e"}"#).await;
    bench.letter(Dlq::Ingest, Kind::Event, r#"{"hostname":"h"}"#).await;
    bench.letter(Dlq::Ingest, Kind::Event, "no json").await;
    bench.letter(Dlq::Dead, Kind::Alert, r#"{"n":"d","_replays":3}"#).await;
    bench.letter(Dlq::Dead, Kind::Event, "hopeless").await;
    let counts = bench.all(Dlq::Moog, Filter::default(), Treatment::Replay, None, 7).await;
    assert_eq!((counts.seen, counts.matched, counts.replayed), (120, 120, 120));
    let alerts = bench.list("t:alert_queue").await;
    assert_eq!(alerts.last().unwrap(), r#"{"n":0,"_replays":1}"#);
    assert_eq!(alerts[0], r#"{"n":119,"_replays":1}"#);
    bench.all(Dlq::Alerter, Filter::default(), Treatment::Replay, None, 50).await;
    let counts = bench.all(Dlq::Ingest, Filter::default(), Treatment::Replay, None, 50).await;
    assert_eq!((counts.replayed, counts.dead), (1, 1));
    assert_eq!(bench.list("t:ingest_queue").await.len(), 2);
    let counts = bench.all(Dlq::Dead, Filter::default(), Treatment::Replay, None, 50).await;
    assert_eq!((counts.replayed, counts.hopeless), (1, 2));
    assert_eq!(bench.list("t:dlq:dead").await.len(), 2);
    bench.assert_balance().await;
}

#[tokio::test]
async fn a_selection_leaves_the_others_in_their_order() {
    let bench = Bench::new().await;
    for number in 0..130 {
        let host = if number % 3 == 0 { "sw1" } else { "sw2" };
        bench.letter(Dlq::Moog, Kind::Alert, &format!(r#"{{"hostname":"{host}","n":{number}}}"#)).await;
    }
    let sw1 = || Filter { host: Some("sw1".into()), ..Filter::default() };
    let looked = bench.all(Dlq::Moog, sw1(), Treatment::Look, None, 50).await;
    assert_eq!((looked.seen, looked.matched), (130, 44));
    assert_eq!(bench.list("t:dlq:moog").await.len(), 130, "looking changes nothing");
    assert_eq!(bench.all(Dlq::Moog, sw1(), Treatment::Replay, Some(4), 50).await.replayed, 4);
    assert_eq!(bench.all(Dlq::Moog, sw1(), Treatment::Purge, None, 50).await.purged, 40);
    let left = bench.list("t:dlq:moog").await;
    let expected: Vec<usize> = (0..130).rev().filter(|number| number % 3 != 0).collect();
    assert_eq!(left.len(), expected.len());
    for (letter, number) in left.iter().zip(expected) {
        assert!(letter.contains(&format!(r#""n":{number}}}"#)), "{letter}");
    }
    let page = bench.dlqs.list(Dlq::Moog, &Filter::default(), 60, 100).await.unwrap();
    assert_eq!((page.len(), page[0].position, page[25].position), (26, 60, 85));
    bench.assert_balance().await;
}

#[tokio::test]
async fn a_replay_that_fails_again_is_not_replayed_by_the_same_walk_and_ends_in_dead() {
    let bench = Bench::new().await;
    bench.letter(Dlq::Moog, Kind::Alert, r#"{"n":1}"#).await;
    for round in 1..=4 {
        let mut walk = bench.dlqs.walk(Dlq::Moog, Filter::default(), Treatment::Replay, None).await.unwrap();
        let counts = bench.dlqs.step(&mut walk, 50, NOW).await.unwrap().unwrap();
        let (replayed, dead) = if round <= 3 { (1, 0) } else { (0, 1) };
        assert_eq!((counts.replayed, counts.dead), (replayed, dead), "round {round}");
        if round <= 3 {
            // The forwarder fails and writes it again while the walk is under way.
            let again: String = bench.redis.query(redis::cmd("LINDEX").arg("t:alert_queue").arg(0)).await.unwrap();
            bench.letter(Dlq::Moog, Kind::Alert, &again).await;
        }
        assert_eq!(bench.dlqs.step(&mut walk, 50, NOW).await.unwrap(), None);
    }
    assert_eq!(bench.dlqs.depth(Dlq::Dead).await.unwrap(), 1);
    bench.assert_balance().await;
}

#[tokio::test]
async fn a_letter_that_somebody_took_meanwhile_is_not_doubled() {
    let bench = Bench::new().await;
    for number in 0..10 {
        bench.letter(Dlq::Alerter, Kind::Event, &format!(r#"{{"n":{number},"_event_id":"e{number}"}}"#)).await;
    }
    let replay = || bench.dlqs.walk(Dlq::Alerter, Filter::default(), Treatment::Replay, None);
    let (mut one, mut two) = (replay().await.unwrap(), replay().await.unwrap());
    loop {
        let (a, b) = tokio::join!(bench.dlqs.step(&mut one, 3, NOW), bench.dlqs.step(&mut two, 3, NOW));
        if a.unwrap().is_none() && b.unwrap().is_none() {
            break;
        }
    }
    assert_eq!(bench.list("t:ingest_queue").await.len(), 10);
    bench.assert_balance().await;
}
