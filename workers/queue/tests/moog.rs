//! The forwarder's scripts against a real Redis: rate, breaker, pause, retries, leases, balance.
//!
//! Nothing here measures time: waits are parameters of the calls (0 = now), and the rate limit is
//! checked on the grants' own times, which the script wrote from Redis' clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mutt_queue::moog::{
    BreakerPolicy, BreakerState, Fate, Finish, Hold, Judgement, MoogQueue, Rate, TakeTerms, Taken, TakenAlert,
};
use mutt_queue::{BatchId, Keys, Redis, RedisSettings, Totals, WorkerId, envelope, redis, totals};
use mutt_servers::RedisServer;

const NOW: &str = "2026-01-02T03:04:05.000000Z";
const LONG: Duration = Duration::from_hours(1);
const OFF: BreakerPolicy = BreakerPolicy { threshold: 0, timeout: LONG };

struct Bench {
    _server: RedisServer,
    redis: Redis,
    keys: Arc<Keys>,
}

impl Bench {
    async fn new() -> Self {
        let server = RedisServer::start().await.unwrap();
        let mut settings = RedisSettings::from_url(&server.url()).unwrap();
        settings.response_timeout = Duration::from_mins(1);
        settings.connect_timeout = Duration::from_mins(1);
        Self { _server: server, redis: Redis::new(settings), keys: Arc::new(Keys::new("t")) }
    }

    fn worker(&self, name: &str) -> MoogQueue {
        MoogQueue::new(self.redis.clone(), self.keys.clone(), WorkerId::named(name))
    }

    async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        self.redis.query(&command).await.unwrap()
    }

    async fn push(&self, text: &str) {
        let mut pipe = redis::pipe();
        pipe.atomic().lpush(&self.keys.alert_queue, text).hincr(&self.keys.totals, totals::ALERTS, 1);
        self.redis.pipeline::<redis::Value>(&pipe).await.unwrap();
    }

    async fn list(&self, key: &str) -> Vec<String> {
        self.command(&["LRANGE", key, "0", "-1"]).await
    }

    async fn gap(&self) -> i64 {
        Totals::read(&self.redis, &self.keys).await.unwrap().gap_alerts()
    }

    /// No list, lease or other trace of what was in flight is left.
    async fn assert_nothing_in_flight(&self) {
        let left: Vec<String> = self.command(&["KEYS", "t:processing:*"]).await;
        assert_eq!(left, Vec::<String>::new());
        assert_eq!(self.command::<u64>(&["ZCARD", &self.keys.leases_moog]).await, 0);
        assert_eq!(self.gap().await, 0);
    }
}

fn terms() -> TakeTerms {
    TakeTerms {
        rate: Rate { limit: 0, period: Duration::from_secs(1) },
        breaker: OFF,
        lease: LONG,
        webhook_timeout: Duration::from_secs(10),
        fingerprint: "key-1".into(),
    }
}

fn ids(count: usize) -> Vec<BatchId> {
    (0..count).map(|_| BatchId::new()).collect()
}

async fn take(queue: &MoogQueue, count: usize, terms: &TakeTerms) -> Taken {
    queue.take(&ids(count), terms, NOW, false).await.unwrap()
}

fn texts(taken: &Taken) -> Vec<&str> {
    taken.alerts.iter().map(|alert| std::str::from_utf8(&alert.text).unwrap()).collect()
}

fn end(alert: &TakenAlert, fate: Fate, judgement: Judgement) -> Finish {
    Finish { lease: alert.lease, grant: alert.grant, fate, judgement, busy_for: Duration::ZERO }
}

fn delivered(alert: &TakenAlert) -> Finish {
    end(alert, Fate::Delivered, Judgement::Good)
}

fn failed(alert: &TakenAlert, wait: Duration) -> Finish {
    end(alert, Fate::Delayed { text: alert.text.clone(), wait }, Judgement::Bad)
}

fn refused(alert: &TakenAlert, probe_after: Duration, fingerprint: &str) -> Finish {
    let entry = envelope::refused_entry(&alert.text, "http", "401 Unauthorized", 1);
    end(alert, Fate::Refused { entry, probe_after, fingerprint: fingerprint.into() }, Judgement::Neutral)
}

#[tokio::test]
async fn alerts_are_taken_oldest_first_and_each_is_finished_for_itself() {
    let bench = Bench::new().await;
    let queue = bench.worker("w");
    assert_eq!(take(&queue, 4, &terms()).await.hold, Some(Hold::Empty));
    for text in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"] {
        bench.push(text).await;
    }
    let taken = take(&queue, 2, &terms()).await;
    assert_eq!((texts(&taken), taken.depth, taken.hold), (vec!["{\"a\":1}", "{\"a\":2}"], 1, None));
    let reply = queue.finish(&[delivered(&taken.alerts[1])], OFF).await.unwrap();
    assert_eq!(reply.owned, [true]);
    assert_eq!(bench.command::<u64>(&["ZCARD", "t:leases:moog"]).await, 1);
    let letter = envelope::build(envelope::Kind::Alert, b"{\"a\":1}", "http", "400", 1, NOW);
    let dead = end(&taken.alerts[0], Fate::DeadLetter { envelope: letter.clone(), dead: false }, Judgement::Neutral);
    let again = [dead, delivered(&taken.alerts[1])];
    assert_eq!(queue.finish(&again, OFF).await.unwrap().owned, [true, false], "an ended lease ends only once");
    assert_eq!(bench.list("t:dlq:moog").await, [String::from_utf8(letter).unwrap()]);
    let last = take(&queue, 9, &terms()).await;
    queue.finish(&[end(&last.alerts[0], Fate::HandedBack, Judgement::Neutral)], OFF).await.unwrap();
    assert_eq!(bench.list("t:alert_queue").await, ["{\"a\":3}"]);
    bench.assert_nothing_in_flight().await;
}

#[tokio::test]
async fn every_window_of_the_rate_limit_is_bounded_over_all_instances() {
    let bench = Bench::new().await;
    let workers = [bench.worker("a"), bench.worker("b"), bench.worker("c")];
    for number in 0..70 {
        bench.push(&format!("{{\"n\":{number}}}")).await;
    }
    let (limit, period) = (20usize, Duration::from_millis(400));
    let terms = TakeTerms { rate: Rate { limit: limit as u64, period }, ..terms() };
    let mut grants: BTreeMap<String, u64> = BTreeMap::new();
    let (mut sent, mut waited, mut turn) = (0, 0, 0);
    while sent < 70 {
        let queue = &workers[turn % 3];
        turn += 1;
        let taken = take(queue, 64, &terms).await;
        if turn == 1 {
            assert_eq!(taken.alerts.len(), limit / 10, "the burst is a tenth");
        }
        sent += taken.alerts.len();
        // Read after each take: only a take forgets grants, and only those older than the window.
        let log: Vec<(String, u64)> = bench.command(&["ZRANGE", "t:rate_limit:moog", "0", "-1", "WITHSCORES"]).await;
        grants.extend(log);
        let ends: Vec<Finish> = taken.alerts.iter().map(delivered).collect();
        queue.finish(&ends, OFF).await.unwrap();
        if let Some(hold) = taken.hold {
            assert_eq!(hold, Hold::Limited);
            waited += 1;
            tokio::time::sleep(taken.wait.unwrap()).await;
        }
    }
    assert_eq!(grants.len(), 70, "each alert has a slot");
    assert!(waited > 0);
    let mut times: Vec<u64> = grants.into_values().collect();
    times.sort_unstable();
    for (first, over) in times.iter().zip(&times[limit..]) {
        assert!(over - first > period.as_micros() as u64, "{} grants within one period", limit + 1);
    }
    assert_ne!(bench.command::<i64>(&["PTTL", "t:rate_limit:moog"]).await, -1, "the window expires by itself");
    bench.assert_nothing_in_flight().await;
}

#[tokio::test]
async fn a_limit_of_zero_is_none_and_a_lowered_limit_holds_at_once() {
    let bench = Bench::new().await;
    let queue = bench.worker("w");
    for number in 0..60 {
        bench.push(&format!("{{\"n\":{number}}}")).await;
    }
    assert_eq!(take(&queue, 20, &terms()).await.alerts.len(), 20);
    let rate = |limit| TakeTerms { rate: Rate { limit, period: LONG }, ..terms() };
    assert_eq!(take(&queue, 20, &rate(100)).await.alerts.len(), 10);
    let held = take(&queue, 20, &rate(10)).await;
    assert_eq!((held.hold, held.alerts.len()), (Some(Hold::Limited), 0));
    assert_eq!(take(&queue, 20, &rate(0)).await.alerts.len(), 20);
    let raised = take(&queue, 20, &rate(1000)).await;
    assert_eq!(raised.hold, Some(Hold::Limited));
    assert!(
        raised.wait.unwrap() < Duration::from_secs(4),
        "no more than one new interval of old debt: {:?}",
        raised.wait
    );
}

#[tokio::test]
async fn the_breaker_opens_probes_once_over_all_workers_and_closes() {
    let bench = Bench::new().await;
    let (a, b) = (bench.worker("a"), bench.worker("b"));
    for number in 0..12 {
        bench.push(&format!("{{\"n\":{number}}}")).await;
    }
    let policy = BreakerPolicy { threshold: 3, timeout: LONG };
    let closed = TakeTerms { breaker: policy, ..terms() };
    let elapsed = TakeTerms { breaker: BreakerPolicy { timeout: Duration::ZERO, ..policy }, ..terms() };
    let first = take(&a, 5, &closed).await;
    // Two failures, a success, then three: only failures in a row count, those of both workers.
    let [one, two, three, four, five] = &first.alerts[..] else { panic!("five alerts") };
    a.finish(&[failed(one, LONG), failed(two, LONG), delivered(three)], policy).await.unwrap();
    let other = take(&b, 1, &closed).await;
    let reply = b.finish(&[failed(&other.alerts[0], LONG)], policy).await.unwrap();
    assert_eq!((reply.breaker.state, reply.breaker.failures), (BreakerState::Closed, 1));
    let neutral = end(four, Fate::HandedBack, Judgement::Neutral);
    a.finish(&[neutral], policy).await.unwrap();
    let more = take(&a, 2, &closed).await;
    let reply = a.finish(&[failed(&more.alerts[0], LONG), failed(&more.alerts[1], LONG)], policy).await.unwrap();
    assert_eq!(
        (reply.breaker.state, reply.breaker.entered.as_slice()),
        (BreakerState::Open, &[BreakerState::Open][..])
    );
    assert_eq!(bench.command::<String>(&["GET", "t:circuit_breaker:moogsoft:state"]).await, "OPEN");
    let held = take(&b, 4, &closed).await;
    assert_eq!((held.hold, held.breaker.state), (Some(Hold::Open), BreakerState::Open));
    // Its time is over: one probe, whoever asks.
    let probe = take(&b, 4, &elapsed).await;
    assert_eq!((probe.alerts.len(), probe.alerts[0].grant.is_breaker_probe()), (1, true));
    assert_eq!(probe.breaker.entered, [BreakerState::HalfOpen]);
    assert_eq!(take(&a, 4, &elapsed).await.hold, Some(Hold::Probing));
    // What was sent before it opened closes nothing.
    let stale = a.finish(&[delivered(five)], policy).await.unwrap();
    assert_eq!(stale.breaker.state, BreakerState::HalfOpen);
    let reply = b.finish(&[failed(&probe.alerts[0], Duration::ZERO)], policy).await.unwrap();
    assert_eq!(reply.breaker.entered, [BreakerState::Open]);
    assert_eq!(take(&a, 4, &closed).await.hold, Some(Hold::Open));
    let probe = take(&a, 4, &elapsed).await;
    let reply = a.finish(&[delivered(&probe.alerts[0])], policy).await.unwrap();
    assert_eq!((reply.breaker.state, reply.breaker.failures), (BreakerState::Closed, 0));
    assert!(!take(&b, 4, &closed).await.alerts.is_empty());
    assert_eq!(bench.gap().await, 0);
}

#[tokio::test]
async fn a_state_that_another_version_left_counts_as_closed() {
    let bench = Bench::new().await;
    let queue = bench.worker("w");
    for (part, value) in [("state", "open"), ("failures", "many"), ("opened_at", "2025-01-01"), ("epoch", "x")] {
        bench.command::<String>(&["SET", &bench.keys.breaker(part), value]).await;
    }
    bench.push("{\"a\":1}").await;
    bench.push("{\"a\":2}").await;
    let policy = BreakerPolicy { threshold: 1, timeout: LONG };
    let taken = take(&queue, 2, &TakeTerms { breaker: policy, ..terms() }).await;
    assert_eq!(taken.alerts.len(), 2);
    let reply = queue.finish(&[failed(&taken.alerts[0], LONG)], policy).await.unwrap();
    assert_eq!((reply.breaker.state, reply.breaker.failures), (BreakerState::Open, 1));
}

#[tokio::test]
async fn a_probe_whose_sender_dies_is_followed_by_another() {
    let bench = Bench::new().await;
    let queue = bench.worker("w");
    let policy = BreakerPolicy { threshold: 1, timeout: Duration::ZERO };
    let terms = TakeTerms { breaker: policy, ..terms() };
    for text in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"] {
        bench.push(text).await;
    }
    let first = take(&queue, 1, &terms).await;
    queue.finish(&[failed(&first.alerts[0], LONG)], policy).await.unwrap();
    let lost = take(&queue, 1, &terms).await;
    let token = "t:circuit_breaker:moogsoft:probe";
    let lives_ms: i64 = bench.command(&["PTTL", token]).await;
    assert!(lives_ms > 0 && lives_ms <= 15_000, "time-out + 5 s, got {lives_ms}");
    bench.command::<i64>(&["DEL", token]).await;
    let next = take(&queue, 1, &terms).await;
    assert!(next.alerts[0].grant.is_breaker_probe());
    assert_ne!(next.alerts[0].text, lost.alerts[0].text);
    // A receiver that wants peace is alive but proves nothing: the token stays as long as it asked.
    let busy = Finish { busy_for: LONG, ..end(&next.alerts[0], Fate::HandedBack, Judgement::Busy) };
    queue.finish(&[busy], policy).await.unwrap();
    assert_eq!(take(&queue, 1, &terms).await.hold, Some(Hold::Probing));
}

#[tokio::test]
async fn a_pause_ends_with_another_key_and_nothing_is_dropped() {
    let bench = Bench::new().await;
    let queue = bench.worker("w");
    for text in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"] {
        bench.push(text).await;
    }
    let taken = take(&queue, 2, &terms()).await;
    let ends: Vec<Finish> = taken.alerts.iter().map(|alert| refused(alert, LONG, "key-1")).collect();
    assert!(queue.finish(&ends, OFF).await.unwrap().paused);
    assert_eq!(take(&queue, 4, &terms()).await.hold, Some(Hold::Paused));
    assert_eq!(bench.gap().await, 0, "refused alerts are accounted for");
    let other_key = TakeTerms { fingerprint: "key-2".into(), ..terms() };
    let taken = take(&queue, 4, &other_key).await;
    assert_eq!(texts(&taken), ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"], "in their old order");
    assert_eq!(bench.command::<u64>(&["EXISTS", "t:pause:moog", "t:refused:moog"]).await, 0);
}

#[tokio::test]
async fn a_probe_of_another_alert_that_passes_sends_the_refused_to_the_dlq() {
    let bench = Bench::new().await;
    let (a, b) = (bench.worker("a"), bench.worker("b"));
    for text in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}", "{\"a\":4}"] {
        bench.push(text).await;
    }
    let taken = take(&a, 1, &terms()).await;
    a.finish(&[refused(&taken.alerts[0], Duration::ZERO, "key-1")], OFF).await.unwrap();
    let probe = take(&b, 4, &terms()).await;
    assert_eq!(texts(&probe), ["{\"a\":2}"], "one at a time, and a different one");
    assert!(probe.alerts[0].grant.is_pause_probe());
    assert_eq!(take(&a, 4, &terms()).await.hold, Some(Hold::Paused));
    b.finish(&[refused(&probe.alerts[0], Duration::ZERO, "key-1")], OFF).await.unwrap();
    let probe = take(&a, 4, &terms()).await;
    assert_eq!(texts(&probe), ["{\"a\":3}"]);
    a.finish(&[delivered(&probe.alerts[0])], OFF).await.unwrap();
    let rest = take(&a, 4, &terms()).await;
    assert_eq!(texts(&rest), ["{\"a\":4}"], "the pause is over");
    let letters = bench.list("t:dlq:moog").await;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        let envelope = envelope::Envelope::parse(letter.as_bytes()).unwrap();
        assert_eq!((envelope.detail.as_ref(), envelope.dead_lettered_at.as_ref()), ("401 Unauthorized", NOW));
    }
    a.finish(&[delivered(&rest.alerts[0])], OFF).await.unwrap();
    bench.assert_nothing_in_flight().await;
}

#[tokio::test]
async fn a_refused_alert_that_passes_later_clears_the_others() {
    let bench = Bench::new().await;
    let queue = bench.worker("w");
    for text in ["{\"a\":1}", "{\"a\":2}"] {
        bench.push(text).await;
    }
    let taken = take(&queue, 2, &terms()).await;
    let ends: Vec<Finish> = taken.alerts.iter().map(|alert| refused(alert, Duration::ZERO, "key-1")).collect();
    queue.finish(&ends, OFF).await.unwrap();
    // Nothing else waits: the one refused longest ago is tried, then the next, in turn.
    let probe = take(&queue, 4, &terms()).await;
    assert_eq!(texts(&probe), ["{\"a\":1}"]);
    queue.finish(&[refused(&probe.alerts[0], Duration::ZERO, "key-1")], OFF).await.unwrap();
    let probe = take(&queue, 4, &terms()).await;
    assert_eq!(texts(&probe), ["{\"a\":2}"]);
    queue.finish(&[delivered(&probe.alerts[0])], OFF).await.unwrap();
    let rest = take(&queue, 4, &terms()).await;
    assert_eq!(texts(&rest), ["{\"a\":1}"], "it was the webhook, not the alert");
    assert_eq!(bench.list("t:dlq:moog").await, Vec::<String>::new());
}

#[tokio::test]
async fn retries_come_back_before_the_backlog_and_equal_alerts_stay_apart() {
    let bench = Bench::new().await;
    let queue = bench.worker("w");
    for text in ["{\"a\":1}", "{\"a\":1}", "{\"a\":2}"] {
        bench.push(text).await;
    }
    let taken = take(&queue, 2, &terms()).await;
    let ends: Vec<Finish> = taken.alerts.iter().map(|alert| failed(alert, Duration::ZERO)).collect();
    queue.finish(&ends, OFF).await.unwrap();
    assert_eq!(bench.command::<u64>(&["ZCARD", "t:delayed:moog"]).await, 2);
    let taken = take(&queue, 3, &terms()).await;
    assert_eq!(texts(&taken), ["{\"a\":1}", "{\"a\":1}", "{\"a\":2}"]);
    queue.finish(&[failed(&taken.alerts[0], LONG)], OFF).await.unwrap();
    let held = take(&queue, 1, &terms()).await;
    assert_eq!(held.hold, Some(Hold::Empty));
    assert!(held.wait.is_some_and(|wait| wait > Duration::ZERO && wait <= LONG), "{:?}", held.wait);
}

#[tokio::test]
async fn a_lapsed_lease_comes_back_and_its_late_result_changes_nothing() {
    let bench = Bench::new().await;
    let (dead, alive) = (bench.worker("pod|odd"), bench.worker("b"));
    for text in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"] {
        bench.push(text).await;
    }
    let short = TakeTerms { lease: Duration::ZERO, ..terms() };
    let lost = take(&dead, 2, &short).await;
    let held = take(&alive, 1, &terms()).await;
    assert_eq!(alive.return_lapsed().await.unwrap(), 2);
    assert_eq!(alive.return_lapsed().await.unwrap(), 0);
    let late = dead.finish(&[delivered(&lost.alerts[0])], OFF).await.unwrap();
    assert_eq!(late.owned, [false]);
    let again = take(&alive, 4, &terms()).await;
    assert_eq!(texts(&again), ["{\"a\":1}", "{\"a\":2}"]);
    let ends: Vec<Finish> = again.alerts.iter().chain(&held.alerts).map(delivered).collect();
    assert_eq!(alive.finish(&ends, OFF).await.unwrap().owned, [true, true, true]);
    bench.assert_nothing_in_flight().await;
}

#[tokio::test]
async fn a_repeated_take_gives_what_the_first_one_took() {
    let bench = Bench::new().await;
    let queue = bench.worker("w");
    for text in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"] {
        bench.push(text).await;
    }
    let names = ids(2);
    let first = queue.take(&names, &terms(), NOW, false).await.unwrap();
    let repeated = queue.take(&names, &terms(), NOW, true).await.unwrap();
    assert_eq!(first.alerts, repeated.alerts);
    assert_eq!(repeated.depth, 1);
    let fresh = queue.take(&ids(2), &terms(), NOW, true).await.unwrap();
    assert_eq!(texts(&fresh), ["{\"a\":3}"], "where the first one never arrived, it is a take");
}

/// Random interleavings of everything that can happen; the balance holds after each step, and in the end
/// each alert was delivered or is a dead letter.
#[tokio::test]
async fn nothing_is_lost_whatever_the_order() {
    let bench = Bench::new().await;
    for seed in 0..12 {
        bench.command::<String>(&["FLUSHALL"]).await;
        let mut random = fastrand::Rng::with_seed(seed);
        let workers = [bench.worker("a"), bench.worker("b")];
        let policy = BreakerPolicy { threshold: 3, timeout: Duration::ZERO };
        let mut held: [Vec<TakenAlert>; 2] = [Vec::new(), Vec::new()];
        let (mut pushed, mut done) = (BTreeSet::new(), BTreeSet::new());
        for step in 0..120 {
            let who = random.usize(..2);
            match random.u32(..10) {
                0..3 => {
                    let text = format!("{{\"n\":{step}}}");
                    bench.push(&text).await;
                    pushed.insert(text);
                }
                3..6 => {
                    let lease = if random.u32(..4) == 0 { Duration::ZERO } else { LONG };
                    let key = if random.u32(..8) == 0 { "key-2" } else { "key-1" };
                    let terms = TakeTerms { breaker: policy, lease, fingerprint: key.into(), ..terms() };
                    let names = ids(3);
                    let first = workers[who].take(&names, &terms, NOW, false).await.unwrap();
                    let taken = if random.bool() && !first.alerts.is_empty() {
                        workers[who].take(&names, &terms, NOW, true).await.unwrap()
                    } else {
                        first
                    };
                    held[who].extend(taken.alerts);
                }
                6..9 if !held[who].is_empty() => {
                    let at = random.usize(..held[who].len());
                    let alert = held[who].swap_remove(at);
                    let result = random_end(&mut random, &alert);
                    let reply = workers[who].finish(std::slice::from_ref(&result), policy).await.unwrap();
                    if reply.owned[0] && matches!(result.fate, Fate::Delivered) {
                        assert!(done.insert(String::from_utf8(alert.text).unwrap()), "delivered once");
                    }
                }
                _ => {
                    workers[who].return_lapsed().await.unwrap();
                }
            }
            assert_eq!(bench.gap().await, 0, "seed {seed}, step {step}");
        }
        // Everybody dies; a third one does the rest under another key, without a breaker.
        let leases: Vec<String> = bench.command(&["ZRANGE", "t:leases:moog", "0", "-1"]).await;
        for lease in &leases {
            bench.command::<i64>(&["ZADD", "t:leases:moog", "1", lease]).await;
        }
        let last = bench.worker("c");
        while last.return_lapsed().await.unwrap() > 0 {}
        let delayed: Vec<String> = bench.command(&["ZRANGE", "t:delayed:moog", "0", "-1"]).await;
        for member in &delayed {
            bench.command::<i64>(&["ZADD", "t:delayed:moog", "1", member]).await;
        }
        let terms = TakeTerms { fingerprint: "key-3".into(), ..terms() };
        loop {
            let taken = take(&last, 20, &terms).await;
            if taken.hold == Some(Hold::Empty) {
                break;
            }
            for alert in &taken.alerts {
                assert_eq!(last.finish(&[delivered(alert)], OFF).await.unwrap().owned, [true]);
                assert!(done.insert(String::from_utf8(alert.text.clone()).unwrap()), "delivered once");
            }
        }
        for letter in bench.list("t:dlq:moog").await {
            let envelope = envelope::Envelope::parse(letter.as_bytes()).unwrap();
            assert!(done.insert(envelope.body().to_owned()), "in one place: {letter}");
        }
        assert_eq!(done, pushed, "seed {seed}");
        bench.assert_nothing_in_flight().await;
    }
}

fn random_end(random: &mut fastrand::Rng, alert: &TakenAlert) -> Finish {
    match random.u32(..6) {
        0..2 => delivered(alert),
        2 => failed(alert, if random.bool() { Duration::ZERO } else { LONG }),
        3 => refused(alert, Duration::ZERO, "key-1"),
        4 => {
            let envelope = envelope::build(envelope::Kind::Alert, &alert.text, "http", "400", 1, NOW);
            end(alert, Fate::DeadLetter { envelope, dead: false }, Judgement::Neutral)
        }
        _ => end(alert, Fate::HandedBack, Judgement::Neutral),
    }
}
