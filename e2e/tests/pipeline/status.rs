//! `mutt status` and `GET slo`, as a person and a dashboard use them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use mutt_e2e::{LIMIT, Pipeline, Prometheus, Role, client, event, eventually, mutt, output_of};
use mutt_servers::ManagedChild;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Exit code and everything that it wrote.
async fn status(pipeline: &Pipeline, flags: &[&str]) -> (i32, String) {
    let output = output_of(&[&["status"], flags].concat(), pipeline.settings()).await;
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.code().unwrap(), text)
}

async fn as_json(pipeline: &Pipeline) -> Value {
    let output = output_of(&["status", "--output", "json"], pipeline.settings()).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test]
async fn it_says_what_needs_a_person_and_ends_with_1() {
    let mut pipeline = Pipeline::start().await;
    // As in a pod whose log level is set; nothing of it is on the screen.
    pipeline.set("LOG_LEVEL", "DEBUG");
    let (code, text) = status(&pipeline, &[]).await;
    assert_eq!((code, text.contains("nothing waits, and no worker is alive")), (0, true), "{text}");
    let ingestor = pipeline.run(Role::Ingestor).await;
    let sender = pipeline.sender(&ingestor);
    sender.send(&event("sw1", "ALERT one")).await.unwrap();
    let (code, text) = status(&pipeline, &[]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("! no alerter is alive and the ingest queue holds 1 event\n"), "{text}");
    assert!(text.ends_with("mutt: something needs a person\n"), "{text}");

    let (_alerter, _forwarder) = (pipeline.run(Role::Alerter).await, pipeline.run(Role::Forwarder).await);
    eventually("all is well", async || status(&pipeline, &[]).await.0 == 0).await;
    let (_, text) = status(&pipeline, &[]).await;
    assert!(text.contains("all is well") && text.contains("workers: 1 alerter, 1 forwarder\n"), "{text}");
    assert!(text.contains("no rate limit") && text.contains("in use by 1 of 1 alerter\n"), "{text}");
    let report = as_json(&pipeline).await;
    assert_eq!((&report["problems"], &report["webhook"]["rate_limit"]["limit"]), (&json!([]), &json!(0)), "{report}");
    let alerter = &report["rules"]["alerters"][0];
    assert_eq!((&alerter["lags"], &alerter["rules"]), (&json!(false), &json!(2)), "{report}");
    assert_eq!(alerter["revision"], report["rules"]["revision"]);

    sender.send(&json!([event("sw1", "good"), {"hostname": "sw2"}])).await.unwrap();
    let mut command = Command::new(mutt());
    command.args(["status", "--watch=1"]).env_clear().envs(pipeline.settings().iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watching = ManagedChild::spawn(command, Signal::KILL).unwrap();
    let lines = BufReader::new(watching.streams().stdout.take().unwrap()).lines();
    let lines = tokio::task::spawn_blocking(move || lines.take(2).map(Result::unwrap).collect::<Vec<_>>());
    let lines = lines.await.unwrap();
    watching.signal(Signal::INT).unwrap();
    let ended = watching.wait(LIMIT).await.unwrap().expect("ends");
    for line in &lines {
        assert!(line.contains("dead letters: 1;") && line.contains("`mutt dlq list ingest`"), "{lines:?}");
    }
    assert_eq!(ended.code(), Some(1));

    pipeline.redis.stop().await.unwrap();
    let (code, text) = status(&pipeline, &[]).await;
    assert!(code == 69 && text.starts_with("mutt: redis on 127.0.0.1:"), "{code}: {text}");
    assert_eq!(status(&pipeline, &["--watch=0"]).await.0, 64);
}

#[tokio::test]
async fn objectives_come_from_a_real_prometheus() {
    let mut pipeline = Pipeline::start().await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    let (alerter, forwarder) = (pipeline.run(Role::Alerter).await, pipeline.run(Role::Forwarder).await);
    let prometheus = Prometheus::start(&[&ingestor, &alerter, &forwarder]).await;
    pipeline.set("PROMETHEUS_URL", prometheus.url());
    pipeline.set("SLO_SELECTOR", r#"namespace="e2e",pipeline="core""#);
    pipeline.set("METRICS_CACHE_TTL", "0");
    let webui = pipeline.run(Role::WebUi).await;
    let sender = pipeline.sender(&ingestor);
    let slos = async || {
        let request = client().get(format!("{}/api/v1/slo", webui.url())).header("X-API-KEY", "e2e-webui-key");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()
    };
    let state = |slos: &Value, index: usize| slos["slos"][index]["status"].as_str().unwrap().to_owned();
    // Rates rise from one scrape to the next, so events go on until all objectives are judged.
    // How fast this machine is just now is not asked: three of them are only seen to be judged.
    eventually("availability is met and the others are judged", async || {
        sender.send(&event("sw1", "ALERT")).await.unwrap();
        let slos = slos().await;
        state(&slos, 0) == "ok" && (1..4).all(|index| slos["slos"][index]["actual_value"].is_f64())
    })
    .await;
    let report = as_json(&pipeline).await;
    assert_eq!(
        (&report["slos"][0]["actual_value"], &report["slos"][0]["status"]),
        (&json!(1.0), &json!("ok")),
        "{report}"
    );

    // Without Redis nothing is accepted, which the pipeline has to answer for.
    pipeline.redis.stop().await.unwrap();
    eventually("availability is breached", async || {
        sender.send(&event("sw1", "ALERT")).await;
        state(&slos().await, 0) == "breached"
    })
    .await;
    let slo = slos().await["slos"][0].clone();
    assert!(slo["error_budget_remaining"].as_f64().unwrap() < 0.0, "{slo}");
    assert_eq!((&slo["target"], &slo["window_hours"]), (&json!(0.999), &json!(720)));

    prometheus.kill();
    let slos = slos().await;
    assert!(state(&slos, 0) == "unknown" && slos["slos"][0]["message"].as_str().unwrap().contains("PROMETHEUS_URL"));
}
