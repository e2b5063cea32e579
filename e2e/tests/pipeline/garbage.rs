//! Bad input of every kind is refused with a reason and hurts nobody else.

use mutt_e2e::{Pipeline, Role, event, eventually};

/// A body, and the only statuses that may answer it.
fn bad_bodies() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let field = |value: &str| {
        format!(r#"{{"hostname":"h","timestamp":"2026-03-01T12:00:00Z","message":{value}}}"#).into_bytes()
    };
    vec![
        ("nothing", Vec::new(), &[400]),
        ("no JSON", b"hello".to_vec(), &[400]),
        ("half an object", b"{\"hostname\":\"h\",".to_vec(), &[400]),
        ("a number", b"42".to_vec(), &[400]),
        ("null", b"null".to_vec(), &[400]),
        ("an empty array", b"[]".to_vec(), &[400]),
        ("an array of numbers", b"[1,2,3]".to_vec(), &[400]),
        ("missing fields", b"{\"hostname\":\"h\"}".to_vec(), &[400]),
        ("a wrong type", field("7"), &[400]),
        ("an empty text", field("\"\""), &[400]),
        ("NaN", field("\"m\",\"x\":NaN"), &[400]),
        ("1e999", field("\"m\",\"x\":1e999"), &[400]),
        ("a lone surrogate", field("\"\\ud800\""), &[400]),
        ("a key twice", field("\"m\",\"message\":\"n\""), &[400]),
        ("a hundred levels", [&b"[".repeat(100)[..], &b"]".repeat(100)[..]].concat(), &[400]),
        ("no UTF-8", b"{\"hostname\":\"\xff\xfe\",\"message\":\"m\",\"timestamp\":\"1\"}".to_vec(), &[400]),
    ]
}

#[tokio::test]
async fn the_ingestor_refuses_garbage_with_a_code_and_goes_on() {
    let pipeline = Pipeline::start().await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    let sender = pipeline.sender(&ingestor);
    let json = [("Content-Type", "application/json")];
    for (what, body, allowed) in bad_bodies() {
        let answer = sender.post(body, &json).await.unwrap_or_else(|| panic!("no answer to {what}"));
        assert!(allowed.contains(&answer.status), "{what}: {} {}", answer.status, answer.json);
        assert_eq!(answer.json["status"], "error", "{what}: {}", answer.json);
        assert!(answer.json["code"].as_str().is_some_and(|code| !code.is_empty()), "{what}: {}", answer.json);
    }
    let wrong_encoding = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    let answer = sender.post("this is no gzip", &wrong_encoding).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.json);
    let good = sender.send(&event("h", "all is well")).await.unwrap();
    assert_eq!((good.status, good.json["status"].as_str()), (200, Some("queued")), "{}", good.json);
}

#[tokio::test]
async fn what_others_put_into_the_queue_goes_to_the_dead_letters_and_the_rest_is_audited() {
    let pipeline = Pipeline::start().await;
    let elements = ["no JSON at all", "[1,2]", "{}", "{\"hostname\":7}", "\u{0}\u{1}\u{2}"];
    for element in elements {
        pipeline.redis.command(&["LPUSH", "mutt:ingest_queue", element]).await.unwrap();
    }
    let good = event("good", "ALERT among garbage").to_string();
    pipeline.redis.command(&["LPUSH", "mutt:ingest_queue", &good]).await.unwrap();
    let _alerter = pipeline.run(Role::Alerter).await;
    eventually("the good event audited", async || pipeline.audited().await == 1).await;
    let wanted = i64::try_from(elements.len()).unwrap();
    eventually("dead letters", async || pipeline.length("mutt:dlq:alerter").await == wanted).await;
    assert_eq!(pipeline.length("mutt:alert_queue").await, 1);
    let letters = pipeline.redis.command(&["LRANGE", "mutt:dlq:alerter", "0", "-1"]).await.unwrap().texts();
    for letter in letters {
        let letter: serde_json::Value = serde_json::from_str(&letter).unwrap();
        assert!(letter["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{letter}");
    }
}
