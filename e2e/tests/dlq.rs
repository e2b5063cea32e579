//! `mutt dlq` as a person or a script uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::process::Output;

use mutt_e2e::output_of;
use mutt_servers::{RedisServer, Reply};
use serde_json::{Value, json};

struct Letters {
    redis: RedisServer,
    environment: Vec<(String, String)>,
}

impl Letters {
    /// 120 alerts that could not be delivered, and an event that the alerter could not read.
    async fn new() -> Self {
        let redis = RedisServer::start().await.unwrap();
        let letter = |number: u32| {
            let host = if number.is_multiple_of(2) { "core-1" } else { "edge-1" };
            json!({
                "alert": {"hostname": host, "message_body": format!("link {number} down"), "raw_json": {"_event_id": format!("e{number}")}},
                "reason": "retry_exhausted", "detail": "500 oops", "attempts": 6, "dead_lettered_at": "2026-01-02T03:04:05Z"
            })
            .to_string()
        };
        for number in 0..120 {
            redis.command(&["LPUSH", "mutt:dlq:moog", &letter(number)]).await.unwrap();
        }
        let event = r#"{"event":"no json","reason":"json","detail":"expected value","attempts":1,"dead_lettered_at":"2026-01-02T03:04:05Z"}"#;
        redis.command(&["LPUSH", "mutt:dlq:alerter", event]).await.unwrap();
        let environment = vec![("REDIS_URL".to_owned(), redis.url())];
        Self { redis, environment }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        output_of(&[&["dlq"], arguments].concat(), &self.environment).await
    }

    async fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["--output", "json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    async fn length(&self, key: &str) -> i64 {
        match self.redis.command(&["LLEN", key]).await.unwrap() {
            Reply::Integer(length) => length,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn letters_are_listed_searched_and_shown() {
    let letters = Letters::new().await;
    assert_eq!(letters.json(&["list"]).await, json!({"ingest": 0, "alerter": 1, "moog": 120, "dead": 0}));
    let page = letters.json(&["list", "moog", "--limit", "50", "--page", "3"]).await;
    assert_eq!(page.as_array().unwrap().len(), 20);
    assert_eq!(page[0]["position"], 100);
    let found = letters
        .json(&["list", "moog", "--host", "edge-1", "--text", "LINK 7 down", "--reason", "retry_exhausted"])
        .await;
    assert_eq!((found.as_array().unwrap().len(), &found[0]["event_id"]), (1, &json!("e7")));
    let table = letters.text(&["list", "moog", "--limit", "2"]).await;
    assert!(table.starts_with('#') && table.contains("500 oops") && table.lines().count() == 3, "{table}");
    let shown = letters.text(&["show", "moog", "e7"]).await;
    assert!(shown.contains("edge-1") && shown.contains("link 7 down"), "{shown}");
    assert_eq!(letters.json(&["show", "moog", "0"]).await["alert"]["raw_json"]["_event_id"], "e119");
    let missing = letters.run(&["show", "moog", "e999"]).await;
    assert_eq!(missing.status.code(), Some(1));
}

#[tokio::test]
async fn letters_are_replayed_and_purged_only_as_asked() {
    let letters = Letters::new().await;
    let dry = letters.json(&["replay", "moog", "--host", "core-1", "--dry-run"]).await;
    assert_eq!((&dry["counts"]["matched"], &dry["counts"]["replayed"]), (&json!(60), &json!(0)));
    assert_eq!(letters.length("mutt:dlq:moog").await, 120);
    let said = letters.text(&["replay", "moog", "--host", "core-1", "--limit", "10", "--rate", "0"]).await;
    assert_eq!(said.trim(), "dlq moog: 10 replayed");
    assert_eq!((letters.length("mutt:alert_queue").await, letters.length("mutt:dlq:moog").await), (10, 110));
    let refused = letters.run(&["purge", "moog"]).await;
    assert_eq!(refused.status.code(), Some(64), "a purge without a terminal wants --yes");
    assert_eq!(letters.length("mutt:dlq:moog").await, 110);
    assert_eq!(letters.text(&["purge", "moog", "--host", "edge-1", "--yes"]).await.trim(), "dlq moog: 60 purged");
    assert_eq!(letters.length("mutt:dlq:moog").await, 50);
    let hopeless = letters.json(&["replay", "alerter"]).await;
    assert_eq!(hopeless["counts"]["dead"], 1);
    assert_eq!(letters.length("mutt:dlq:dead").await, 1);
}
