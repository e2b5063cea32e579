#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;

use clap::{Args, FromArgMatches};
use mutt_secrets::Secrets;
use mutt_servers::RedisServer;
use serde_json::{Value, json};

use super::event::{Severity, Template};
use super::input::Input;
use super::post::Answer;
use super::report::Report;
use super::{SendArgs, run};
use crate::cli::Tool;
use crate::ingest::tests::{Ingestor, KEY};
use crate::settings::{Origin, Vars};
use crate::worker::{Fatal, Reload, Shutdown};

/// Runs `mutt send` with these words.
async fn send(key: &str, words: &[&str]) -> Result<(), Fatal> {
    let command = SendArgs::augment_args(clap::Command::new("send").no_binary_name(true));
    let args = SendArgs::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap();
    let mut vars = Vars::default();
    vars.set("INGEST_API_KEY", key, Origin::Environment);
    let secrets = Secrets::from_variables(&vars.to_map()).unwrap();
    // As the command line does; a second installation is a no-op.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (_shutdown, shutdown) = Shutdown::channel();
    let (_reload, reload) = Reload::channel();
    run(args, Tool { vars, secrets, shutdown, reload }).await
}

#[tokio::test]
async fn sends_one_event_and_a_file_to_a_real_ingestor() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;
    let url = format!("http://{}", ingestor.address);
    let depth = async || format!("{:?}", redis.command(&["LLEN", "mutt:ingest_queue"]).await.unwrap());
    send(KEY, &["--url", &url, "--host", "sw1", "--severity", "err", "link down"]).await.unwrap();
    assert_eq!(depth().await, "Integer(1)");

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events");
    let mut lines = vec!["plain text".to_owned(); 249];
    lines[7] = r#"{"hostname":"sw2","message":"up","timestamp":1717243200}"#.to_owned();
    std::fs::write(&path, lines.join("\n")).unwrap();
    let path = path.to_str().unwrap();
    send(KEY, &["--url", &url, "--file", path, "--output", "json"]).await.unwrap();
    assert_eq!(depth().await, "Integer(250)");

    std::fs::write(path, "one\n{\"hostname\":\"sw3\"}\ntwo\n").unwrap();
    let refused = send(KEY, &["--url", &url, "--file", path]).await.unwrap_err();
    assert_eq!((refused.exit_code(), refused.to_string().as_str()), (1, "1 of 3 events were refused"));
    assert_eq!(depth().await, "Integer(252)");

    let wrong = send("wrong", &["--url", &url, "text"]).await.unwrap_err();
    assert!(wrong.to_string().contains("INGEST_API_KEY"), "{wrong}");
    redis.stop().await.unwrap();
    let away = send(KEY, &["--url", &url, "--patience", "1", "text"]).await.unwrap_err();
    assert!(away.to_string().contains("Redis error"), "{away}");
}

fn answer(status: u16, body: &Value) -> Answer {
    Answer { status, ..serde_json::from_value(body.clone()).unwrap() }
}

#[test]
fn lines_become_events_unless_they_are_some() {
    let template = Template { hostname: "sw1".into(), severity: Severity::Err, trap_oid: Some("1.3.6".into()) };
    let now = jiff::Timestamp::from_second(1_717_243_200).unwrap();
    let made: Value = serde_json::from_slice(&template.line(b"say \"x\" \xff", now)).unwrap();
    let expected = json!({
        "timestamp": "2024-06-01T12:00:00Z", "hostname": "sw1", "severity": "err", "source": "snmp",
        "message": "say \"x\" \u{fffd}", "trap_oid": "1.3.6",
    });
    assert_eq!(made, expected);
    assert_eq!(template.line(b"{\"as\":\"is\"", now), b"{\"as\":\"is\"");
}

#[test]
fn blank_lines_count_but_are_not_sent() {
    let mut input = Input::new(Box::new(Cursor::new(b"one\r\n\n  \ntwo".to_vec())), None);
    assert_eq!(input.next_lines(1).unwrap(), [(1, b"one".to_vec())]);
    assert_eq!(input.next_lines(10).unwrap(), [(4, b"two".to_vec())]);
    assert_eq!(input.next_lines(10).unwrap(), []);
}

#[test]
fn reports_name_the_lines() {
    let mut report = Report::default();
    report.add(&[1], answer(200, &json!({"status": "queued", "correlation_id": "c", "queue_depth": 7})));
    assert_eq!(report.text(), "queued: correlation id c, 7 in the queue\n");
    let mixed = json!({
        "accepted": 1, "rejected": 1, "queue_depth": 8, "correlation_ids": ["d"],
        "errors": [{"index": 1, "code": "json", "message": "m"}],
    });
    report.add(&[4, 9], answer(207, &mixed));
    assert_eq!(report.text(), "3 events sent: 2 queued, 1 refused\n  line 9: json: m\n");
    let json: Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!((&json["accepted"], &json["errors"][0]["line"]), (&json!(2), &json!(9)));
    let mut report = Report::default();
    report.add(&[1], answer(400, &json!({"code": "validation", "message": "no"})));
    assert_eq!(report.text(), "refused (validation): no\n");
    assert_eq!(report.refused(), 1);
}
