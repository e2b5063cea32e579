//! The whole role against a real Redis and a webhook that answers as told. Nothing is measured: each test
//! waits for what must happen, however long the machine takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::{Router, routing::post};
use mutt_queue::dlq::{Dlq, Dlqs, Filter, Treatment};
use mutt_queue::envelope::Envelope;
use mutt_queue::{Keys, Redis, RedisSettings, Totals, redis, totals};
use mutt_servers::{Answer, Fault, FaultProxy, Received, RedisServer, Webhook, free_port};
use prometheus::Registry;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::sync::oneshot;

use crate::server::{Limits, Tls, serve_router};
use crate::settings::{ForwarderSettings, Origin, ServerTls, Vars, read_secrets};
use crate::worker::{Context, Fatal, Reload, ReloadTrigger, Shutdown, ShutdownTrigger, single_threaded};

const LIMIT: Duration = Duration::from_mins(2);

struct Rig {
    server: RedisServer,
    url: String,
    redis: Redis,
    keys: Keys,
    webhook: Webhook,
    directory: tempfile::TempDir,
}

/// A forwarder on a thread of its own, as a process would be.
struct Forwarder {
    shutdown: ShutdownTrigger,
    _reload: ReloadTrigger,
    kill: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Option<Result<(), Fatal>>>,
    metrics: Registry,
    health_port: u16,
}

impl Rig {
    async fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = RedisServer::start().await.unwrap();
        let url = server.url();
        let mut settings = RedisSettings::from_url(&url).unwrap();
        settings.response_timeout = LIMIT;
        settings.connect_timeout = LIMIT;
        let webhook = Webhook::start().await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), "key-1").unwrap();
        Self { server, url, redis: Redis::new(settings), keys: Keys::new("mutt"), webhook, directory }
    }

    fn forwarder(&self, changes: &[(&str, &str)]) -> Forwarder {
        let mut vars = Vars::default();
        let health_port = free_port().unwrap();
        let key_file = self.directory.path().join("key");
        for (name, value) in [
            ("REDIS_URL", self.url.as_str()),
            ("MOOG_WEBHOOK_URL", &self.webhook.url()),
            ("MOOG_API_KEY_FILE", key_file.to_str().unwrap()),
            ("MOOG_RATE_LIMIT", "0"),
            ("MOOG_RETRY_BASE_DELAY", "0.02"),
            ("MOOG_RETRY_MAX_DELAY", "0.2"),
            ("MOOG_WEBHOOK_TIMEOUT", "60"),
            ("METRICS_PORT_MOOG", &free_port().unwrap().to_string()),
            ("HEALTH_PORT_MOOG", &health_port.to_string()),
        ]
        .iter()
        .chain(changes)
        {
            if value.is_empty() {
                vars.remove(name);
            } else {
                vars.set(name, *value, Origin::Flag);
            }
        }
        let settings = ForwarderSettings::from_vars(&vars).unwrap();
        let secrets = read_secrets(&vars).unwrap();
        let (shutdown, stopping) = Shutdown::channel();
        let (reload_trigger, reload) = Reload::channel();
        let metrics = Registry::new();
        let context = Context { secrets, registry: metrics.clone(), shutdown: stopping, reload };
        let (kill, killed) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let outcome = single_threaded().unwrap().block_on(async {
                tokio::select! {
                    outcome = super::run(settings, context) => Some(outcome),
                    _ = killed => None,
                }
            });
            let _ = end.send(outcome);
        });
        Forwarder { shutdown, _reload: reload_trigger, kill: Some(kill), ended, metrics, health_port }
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

    async fn push_alerts(&self, ids: std::ops::Range<usize>) {
        for id in ids {
            self.push(&alert(id)).await;
        }
    }

    async fn totals(&self) -> Totals {
        Totals::read(&self.redis, &self.keys).await.unwrap()
    }

    async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let wait = async {
            while !holds(self).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, wait).await.is_ok(), "not seen: {what}; {:?}", self.totals().await);
    }

    /// Nothing waits and nothing is in flight: every alert was delivered or is a dead letter.
    async fn until_settled(&self) {
        let settled = |totals: &Totals| {
            totals.alert_queue == 0 && totals.alerts_in_flight == 0 && totals.delayed == 0 && totals.refused == 0
        };
        self.until("all alerts settled", async |rig| settled(&rig.totals().await)).await;
        assert_eq!(self.totals().await.gap_alerts(), 0);
        assert_eq!(self.command::<Vec<String>>(&["KEYS", "mutt:processing:*"]).await, Vec::<String>::new());
    }

    async fn until_paused(&self) {
        self.until("the pause", async |rig| rig.command::<u64>(&["EXISTS", "mutt:pause:moog"]).await == 1).await;
    }

    async fn letters(&self) -> Vec<String> {
        self.command(&["LRANGE", "mutt:dlq:moog", "0", "-1"]).await
    }

    /// The external ids that were answered with 2xx.
    fn delivered(&self) -> BTreeSet<String> {
        self.webhook.with_received(|all| {
            all.iter().filter(|one| one.delivered).map(|one| one.text("external_id").to_owned()).collect()
        })
    }
}

impl Forwarder {
    async fn stop(self) {
        self.shutdown.request();
        let ended = tokio::time::timeout(LIMIT, self.ended).await.expect("ends").unwrap();
        assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
    }

    async fn kill(mut self) {
        let _ = self.kill.take().unwrap().send(());
        assert!(self.ended.await.unwrap().is_none());
    }

    /// A count, as the exposition gives it.
    fn metric(&self, line: &str) -> u64 {
        let text = crate::telemetry::exposition(&self.metrics);
        let found = text.lines().find_map(|one| one.strip_prefix(line)?.trim().parse::<f64>().ok());
        found.unwrap_or_else(|| panic!("no {line} in {text}")) as u64
    }
}

fn alert(id: usize) -> String {
    format!(
        r#"{{"hostname":"sw{id}","team_assignment":"NETO","severity":"Major","message_body":"link {id} down","raw_json":{{"n":{id},"_event_id":"e{id}"}},"rule":"r","_correlation_id":"c{id}"}}"#
    )
}

fn ids(range: std::ops::Range<usize>) -> BTreeSet<String> {
    range.map(|id| format!("e{id}")).collect()
}

fn detail(letter: &str) -> (String, String, u64) {
    let envelope = Envelope::parse(letter.as_bytes()).unwrap();
    (envelope.reason.to_string(), envelope.detail.to_string(), envelope.attempts)
}

#[tokio::test]
async fn alerts_arrive_as_the_contract_says_and_nothing_is_left_behind() {
    let rig = Rig::new().await;
    rig.push_alerts(0..150).await;
    let forwarder = rig.forwarder(&[]);
    rig.until_settled().await;
    // One at a time now: an idle forwarder is woken.
    for id in 150..155 {
        rig.push_alerts(id..id + 1).await;
        rig.webhook.wait_for(id as u64 + 1, LIMIT).await.unwrap();
    }
    rig.until_settled().await;
    assert_eq!(rig.delivered(), ids(0..155));
    assert_eq!(rig.webhook.requests(), 155);
    let first: Received =
        rig.webhook.with_received(|all| all.iter().find(|one| one.text("external_id") == "e7").cloned().unwrap());
    assert_eq!(first.target, "POST /");
    assert_eq!((first.header("content-type"), first.header("authorization")), ("application/json", "Bearer key-1"));
    assert_eq!((first.text("signature"), first.json["severity"].as_u64()), ("sw7", Some(4)));
    assert_eq!(first.json["custom_info"]["n"], 7);
    assert_eq!(forwarder.metric("mutt_moog_alerts_processed_total{status=\"success\"}"), 155);
    assert_eq!(forwarder.metric("mutt_moog_requests_total{reason=\"\",status=\"success\"}"), 155);
    assert_eq!(forwarder.metric("mutt_moog_request_latency_seconds_count"), 155);
    assert_eq!(forwarder.metric("mutt_circuit_breaker_state{name=\"moogsoft\"}"), 0);
    assert_eq!(forwarder.metric("mutt_accepted_to_delivered_seconds_count"), 0, "these do not say when");
    let received = r#""_received_at":"2001-07-01T00:00:00Z""#;
    for (own, event) in [("", ""), (r#""_replays":1,"#, ""), ("", r#","_replays":1"#)] {
        rig.push(&format!(r#"{{{own}"hostname":"a","message_body":"m","raw_json":{{{received}{event}}}}}"#)).await;
    }
    rig.until_settled().await;
    assert_eq!(forwarder.metric("mutt_accepted_to_delivered_seconds_count"), 1, "replays say nothing of the pipeline");
    assert!(forwarder.metric("mutt_accepted_to_delivered_seconds_sum") > 700_000_000);
    assert_eq!(rig.command::<Vec<String>>(&["KEYS", "mutt:heartbeat:moog:*"]).await.len(), 1);
    let ready = reqwest::get(format!("http://127.0.0.1:{}/ready", forwarder.health_port)).await.unwrap();
    assert_eq!(ready.status(), 200);
    forwarder.stop().await;
    assert_eq!(rig.command::<Vec<String>>(&["KEYS", "mutt:heartbeat:moog:*"]).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_may_pass_later_is_tried_again_under_the_same_id() {
    let rig = Rig::new().await;
    let answers = [408, 425, 500, 503].map(Answer::status);
    rig.webhook.answer_next(answers.into_iter().chain([Answer::Close, Answer::retry_after(429, "1")]));
    rig.push_alerts(0..8).await;
    let forwarder = rig.forwarder(&[]);
    rig.until_settled().await;
    assert_eq!(rig.delivered(), ids(0..8));
    assert_eq!(rig.letters().await, Vec::<String>::new());
    assert_eq!(forwarder.metric("mutt_moog_alerts_processed_total{status=\"error\"}"), 6);
    assert_eq!(forwarder.metric("mutt_moog_requests_total{reason=\"rate_limit\",status=\"fail\"}"), 1);
    forwarder.stop().await;
}

#[tokio::test]
async fn an_answer_after_the_time_out_means_the_same_alert_twice_and_no_loss() {
    let rig = Rig::new().await;
    rig.webhook.answer_next([Answer::Hang]);
    rig.push_alerts(0..1).await;
    let forwarder = rig.forwarder(&[("MOOG_WEBHOOK_TIMEOUT", "2")]);
    rig.until_settled().await;
    let seen: Vec<String> = rig.webhook.received().iter().map(|one| one.text("external_id").to_owned()).collect();
    assert!(seen.len() >= 2 && seen.iter().all(|id| id == "e0"), "{seen:?}");
    forwarder.stop().await;
}

#[tokio::test]
async fn what_will_never_pass_is_a_dead_letter_with_the_answer() {
    let rig = Rig::new().await;
    rig.webhook.answer_next([Answer::status(400), Answer::status(302), Answer::status(204)]);
    let forwarder = rig.forwarder(&[("MOOG_CONCURRENCY", "1")]);
    rig.push_alerts(0..3).await;
    rig.until_settled().await;
    assert_eq!(rig.webhook.requests(), 3, "redirects are not followed");
    rig.push("no json").await;
    rig.push(r#"{"hostname":"h"}"#).await;
    rig.push(r#"{"message_body":"m","_replays":3}"#).await;
    rig.until_settled().await;
    let letters: Vec<_> = rig.letters().await.iter().rev().map(|letter| detail(letter)).collect();
    assert_eq!(letters[0].0, "http");
    assert!(letters[0].1.starts_with("400 ") && letters[0].1.ends_with("{}"), "{letters:?}");
    assert!(letters[1].1.starts_with("302 "), "{letters:?}");
    assert_eq!((letters[2].0.as_str(), letters[3].0.as_str()), ("json", "validation"));
    assert_eq!(letters[3].1, "missing required fields: ['message_body']");
    let dead: Vec<String> = rig.command(&["LRANGE", "mutt:dlq:dead", "0", "-1"]).await;
    assert_eq!((letters.len(), dead.len()), (4, 1), "replayed three times in vain is dead");
    forwarder.stop().await;
}

#[tokio::test]
async fn after_the_last_retry_it_is_a_dead_letter_and_a_replay_brings_it_back() {
    let rig = Rig::new().await;
    rig.webhook.answer(Answer::status(500));
    rig.push_alerts(0..3).await;
    let forwarder = rig.forwarder(&[("MOOG_MAX_RETRIES", "2"), ("CIRCUIT_BREAKER_ENABLED", "false")]);
    rig.until_settled().await;
    assert_eq!(rig.webhook.requests(), 9);
    for letter in rig.letters().await {
        let (reason, detail, attempts) = detail(&letter);
        assert_eq!((reason.as_str(), attempts), ("retry_exhausted", 3));
        assert!(detail.starts_with("500 "), "{detail}");
    }
    rig.webhook.answer(Answer::status(200));
    let dlqs = Dlqs::new(rig.redis.clone(), Arc::new(rig.keys.clone()));
    let mut walk = dlqs.walk(Dlq::Moog, Filter::default(), Treatment::Replay, None).await.unwrap();
    while dlqs.step(&mut walk, 2, "2026-01-02T03:04:05Z").await.unwrap().is_some() {}
    rig.until("all letters delivered", async |rig| rig.delivered() == ids(0..3)).await;
    rig.until_settled().await;
    let totals = rig.totals().await;
    assert_eq!(
        (totals.count(totals::ALERTS_REPLAYED), totals.count(totals::ALERTS_DELIVERED), totals.dlq_moog),
        (3, 3, 0)
    );
    forwarder.stop().await;
}

#[tokio::test]
async fn a_refused_key_pauses_and_a_new_key_brings_everything_through() {
    let rig = Rig::new().await;
    rig.webhook.answer(Answer::status(401));
    rig.push_alerts(0..20).await;
    let forwarder = rig.forwarder(&[("MOOG_PAUSE_PROBE_SECONDS", "3600"), ("MOOG_CONCURRENCY", "4")]);
    rig.until_paused().await;
    rig.until("all in flight refused", async |rig| rig.totals().await.alerts_in_flight == 0).await;
    let asked = rig.webhook.requests();
    assert!((1..=8).contains(&asked), "the pause holds the rest: {asked}");
    rig.until("the gauge", async |_| forwarder.metric("mutt_moog_paused") == 1).await;
    rig.webhook.answer(Answer::status(200));
    std::fs::write(rig.directory.path().join("key"), "key-2").unwrap();
    rig.until_settled().await;
    assert_eq!(rig.delivered(), ids(0..20));
    assert_eq!(rig.letters().await, Vec::<String>::new());
    let keys: BTreeSet<String> = rig.webhook.with_received(|all| {
        all.iter().filter(|one| one.delivered).map(|one| one.header("authorization").to_owned()).collect()
    });
    assert_eq!(keys, BTreeSet::from(["Bearer key-2".to_owned()]));
    rig.until("the gauge", async |_| forwarder.metric("mutt_moog_paused") == 0).await;
    forwarder.stop().await;
}

#[tokio::test]
async fn an_alert_that_alone_is_refused_goes_to_the_dlq_once_another_passes() {
    let rig = Rig::new().await;
    rig.webhook.answer_next([Answer::status(404)]);
    rig.push_alerts(0..1).await;
    let forwarder = rig.forwarder(&[("MOOG_PAUSE_PROBE_SECONDS", "3600")]);
    rig.until_paused().await;
    rig.push_alerts(1..4).await;
    // As if the time between probes were over.
    rig.command::<i64>(&["HSET", "mutt:pause:moog", "next", "1"]).await;
    rig.until_settled().await;
    assert_eq!(rig.delivered(), ids(1..4));
    let letters = rig.letters().await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].contains("\"_event_id\":\"e0\"") && detail(&letters[0]).1.starts_with("404 "), "{letters:?}");
    forwarder.stop().await;
}

#[tokio::test]
async fn a_webhook_that_is_away_costs_nothing_but_time() {
    let rig = Rig::new().await;
    let port = free_port().unwrap();
    let url = format!("http://127.0.0.1:{port}/events");
    rig.push_alerts(0..30).await;
    let away = [
        ("MOOG_WEBHOOK_URL", url.as_str()),
        ("CIRCUIT_BREAKER_THRESHOLD", "3"),
        ("CIRCUIT_BREAKER_TIMEOUT", "0.3"),
        ("MOOG_MAX_RETRIES", "1000"),
    ];
    let (one, two) = (rig.forwarder(&away), rig.forwarder(&away));
    let state = "mutt:circuit_breaker:moogsoft:state";
    rig.until("an open breaker", async |rig| {
        rig.command::<Option<String>>(&["GET", state]).await.as_deref() == Some("OPEN")
    })
    .await;
    let back = Webhook::start_on(port).await.unwrap();
    back.wait_for(30, LIMIT).await.unwrap();
    rig.until_settled().await;
    assert_eq!(rig.command::<String>(&["GET", state]).await, "CLOSED");
    assert_eq!(rig.letters().await, Vec::<String>::new());
    let changes = "mutt_circuit_breaker_state_changes_total";
    assert!(one.metric(changes) + two.metric(changes) >= 3, "open, half-open, closed");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_killed_forwarders_alerts_come_back_under_the_same_ids() {
    let rig = Rig::new().await;
    rig.webhook.answer(Answer::Hang);
    rig.push_alerts(0..10).await;
    let killed = rig.forwarder(&[]);
    rig.until("all in flight", async |rig| rig.webhook.requests() >= 10 && rig.totals().await.alerts_in_flight == 10)
        .await;
    killed.kill().await;
    rig.webhook.answer(Answer::status(200));
    // As if the leases' time were over.
    for lease in rig.command::<Vec<String>>(&["ZRANGE", "mutt:leases:moog", "0", "-1"]).await {
        rig.command::<i64>(&["ZADD", "mutt:leases:moog", "1", &lease]).await;
    }
    let forwarder = rig.forwarder(&[]);
    rig.until_settled().await;
    assert_eq!(rig.delivered(), ids(0..10));
    forwarder.stop().await;
}

#[tokio::test]
async fn at_the_end_what_is_in_flight_is_finished_and_the_rest_stays() {
    let rig = Rig::new().await;
    rig.webhook.answer(Answer::slow(Duration::from_secs(1)));
    rig.push_alerts(0..50).await;
    let forwarder = rig.forwarder(&[("MOOG_CONCURRENCY", "4")]);
    rig.until("something delivered", async |rig| rig.webhook.delivered() > 0).await;
    forwarder.stop().await;
    let totals = rig.totals().await;
    assert_eq!((totals.alerts_in_flight, totals.gap_alerts()), (0, 0));
    assert_eq!(totals.count(totals::ALERTS_DELIVERED), rig.delivered().len() as i64, "each request was finished");
    // One that hangs is given back inside the time limit.
    rig.webhook.answer(Answer::Hang);
    let before = rig.webhook.requests();
    let forwarder = rig.forwarder(&[("MOOG_CONCURRENCY", "4"), ("SHUTDOWN_TIMEOUT", "12")]);
    rig.until("some hang", async |rig| rig.webhook.requests() >= before + 4).await;
    forwarder.stop().await;
    let after = rig.totals().await;
    assert_eq!((after.alerts_in_flight, after.gap_alerts(), after.alert_queue), (0, 0, totals.alert_queue));
}

#[tokio::test]
async fn a_limited_alert_waits_and_a_changed_limit_holds_without_a_restart() {
    let rig = Rig::new().await;
    rig.push_alerts(0..6).await;
    let limit = [("MOOG_RATE_LIMIT", "2"), ("MOOG_RATE_PERIOD", "3600")];
    let (one, two) = (rig.forwarder(&limit), rig.forwarder(&limit));
    rig.webhook.wait_for(1, LIMIT).await.unwrap();
    let hits = "mutt_moog_rate_limit_hits_total";
    rig.until("a limited take", async |_| one.metric(hits) > 0 && two.metric(hits) > 0).await;
    assert_eq!(rig.webhook.requests(), 1, "evenly spaced: the second comes in half an hour");
    rig.command::<i64>(&["HSET", "mutt:settings", "moog_rate_limit", "0"]).await;
    rig.until_settled().await;
    assert_eq!((rig.delivered(), rig.webhook.requests()), (ids(0..6), 6));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_missing_key_is_said_before_anything_starts() {
    let rig = Rig::new().await;
    let forwarder = rig.forwarder(&[("MOOG_API_KEY_FILE", "")]);
    let ended = forwarder.ended.await.unwrap();
    let Some(Err(error)) = ended else { panic!("starts without a key") };
    assert_eq!(error.exit_code(), 64);
    assert!(error.to_string().contains("MOOG_API_KEY"), "{error}");
}

#[tokio::test]
async fn lost_answers_of_redis_and_its_restart_neither_lose_nor_double_an_alert() {
    let rig = Rig::new().await;
    let proxy = FaultProxy::start(rig.server.port()).await.unwrap();
    let through = proxy.through(&rig.url, rig.server.port());
    let forwarder = rig.forwarder(&[("REDIS_URL", &through), ("MOOG_CONCURRENCY", "4")]);
    rig.push_alerts(0..1).await;
    rig.webhook.wait_for(1, LIMIT).await.unwrap();
    rig.push_alerts(1..300).await;
    for (round, bytes) in [4_000, 5_000, 6_000, 7_000].into_iter().enumerate() {
        // Each connection lives for some takes, then one of its answers is lost.
        proxy.set(Fault::CutReplies(bytes)).await;
        rig.webhook.wait_for(40 * (round as u64 + 1), LIMIT).await.unwrap();
        proxy.set(Fault::None).await;
        proxy.cut().await;
    }
    rig.server.restart().await.unwrap();
    rig.until_settled().await;
    assert_eq!(rig.delivered(), ids(0..300));
    assert_eq!(rig.webhook.requests(), 300, "a lost answer is asked for again, not done again");
    forwarder.stop().await;
}

/// A CA, and files of a certificate that it signed for 127.0.0.1.
fn certificates(directory: &std::path::Path) -> ServerTls {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let file = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    file("ca.pem", ca_certificate.pem());
    ServerTls {
        certificate: file("server.crt", certificate.pem()),
        key: file("server.key", key.serialize_pem()),
        client_ca: None,
    }
}

#[tokio::test]
async fn over_tls_only_a_receiver_that_the_given_ca_vouches_for_gets_alerts() {
    let rig = Rig::new().await;
    let (good, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tls = Tls::load(&certificates(good.path()), &Registry::new()).unwrap();
    certificates(other.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}/events", listener.local_addr().unwrap().port());
    let (_end, ending) = Shutdown::channel();
    let got = Arc::new(AtomicUsize::new(0));
    let counted = got.clone();
    let router = Router::new().route(
        "/events",
        post(async move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }),
    );
    let server = tokio::spawn(serve_router(listener, Some(tls), Limits::default(), ending, router));
    rig.push_alerts(0..1).await;
    let ca = |directory: &tempfile::TempDir| directory.path().join("ca.pem").to_str().unwrap().to_owned();
    let wrong = [("MOOG_WEBHOOK_URL", url.as_str()), ("MOOG_CA_CERT_PATH", &ca(&other)), ("MOOG_MAX_RETRIES", "0")];
    let forwarder = rig.forwarder(&wrong);
    rig.until_settled().await;
    forwarder.stop().await;
    let letters = rig.letters().await;
    assert_eq!((letters.len(), got.load(Ordering::SeqCst)), (1, 0));
    assert!(detail(&letters[0]).1.contains("certificate"), "{letters:?}");
    let forwarder = rig.forwarder(&[("MOOG_WEBHOOK_URL", url.as_str()), ("MOOG_CA_CERT_PATH", &ca(&good))]);
    rig.push_alerts(1..3).await;
    rig.until_settled().await;
    assert_eq!(got.load(Ordering::SeqCst), 2);
    forwarder.stop().await;
    server.abort();
}

#[tokio::test]
async fn an_end_while_the_webhook_hangs_gives_the_alert_back_to_whoever_comes_next() {
    let rig = Rig::new().await;
    rig.webhook.answer_next([Answer::Hang]);
    let forwarder = rig.forwarder(&[("SHUTDOWN_TIMEOUT", "4")]);
    rig.push_alerts(0..1).await;
    rig.until("the webhook has it", async |rig| rig.webhook.requests() == 1).await;
    forwarder.stop().await;
    let totals = rig.totals().await;
    assert_eq!((totals.alert_queue, totals.alerts_in_flight, totals.delayed, totals.gap()), (1, 0, 0, 0));
    assert_eq!(rig.command::<u64>(&["EXISTS", "mutt:workers:moog"]).await, 0);
    let next = rig.forwarder(&[]);
    rig.until_settled().await;
    assert_eq!(rig.delivered(), ids(0..1));
    next.stop().await;
}
