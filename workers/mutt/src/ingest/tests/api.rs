//! Answers to single events and every refusal of a whole request.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use super::*;

#[tokio::test]
async fn a_single_event_is_queued_with_its_correlation_id() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;

    let answer = ingestor.post_with(&[("X-Correlation-ID", "req-7.a_b")], GOOD).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-api-version"), Some("v2.5"));
    assert_eq!(answer.json(), serde_json::json!({"status": "queued", "correlation_id": "req-7.a_b", "queue_depth": 1}));
    let mut client = ingestor.client().await;
    let body =
        r#"{"hostname":"sw2","message":"down","timestamp":1717243200,"severity":"crit","_retry_count":9,"n":1.50}"#;
    for path in ["/ingest", "/api/v2/ingest?x=1"] {
        let headers = [("X-API-KEY", KEY), ("X-Correlation-ID", "not allowed!"), ("Content-Type", "application/json")];
        let answer = client.request("POST", path, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["correlation_id"].as_str().unwrap().len(), 36, "replaced by a UUID");
    }
    let queued = queue(&redis).await;
    assert_eq!(queued.len(), 3);
    assert_eq!(queued[0]["_correlation_id"], "req-7.a_b");
    assert_ne!(queued[0]["_event_id"], queued[0]["_correlation_id"]);
    assert_eq!(queued[1]["_event_id"], queued[1]["_correlation_id"], "a made correlation id is the event id");
    assert_eq!(queued[1].get("_retry_count"), None);
    assert_eq!(queued[1]["syslog_severity"], 2);
    let raw = redis.command(&["LINDEX", "mutt:ingest_queue", "0"]).await.unwrap();
    let Reply::Text(raw) = raw else { panic!("{raw:?}") };
    assert!(
        raw.starts_with(r#"{"hostname":"sw2","message":"down","timestamp":1717243200,"severity":"crit","n":1.50,"#)
    );

    assert_eq!(integer(&redis, &["HGET", "mutt:totals", "accepted"]).await, 3);
    let day = jiff::Timestamp::now().strftime("mutt:metrics:24h:%Y-%m-%d").to_string();
    assert_eq!(integer(&redis, &["GET", &day]).await, 3);
    assert!(integer(&redis, &["TTL", &day]).await > 2_000_000);
    assert!((ingestor.metric(r#"mutt_ingest_requests_total{reason="",status="success"}"#).await - 3.0).abs() < 0.1);
    ingestor.stop().await.unwrap();
}

#[tokio::test]
async fn what_needs_no_key() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;
    let health = ingestor.get("/health").await;
    assert_eq!(health.status, 200);
    let expected = serde_json::json!({
        "status": "healthy", "service": "mutt-ingestor", "version": crate::telemetry::VERSION, "redis": "connected",
    });
    assert_eq!(health.json(), expected);
    for path in ["/live", "/ready", "/"] {
        let answer = ingestor.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("x-api-version"), Some("v2.5"), "{path}");
        answer.json();
    }
    let mut client = ingestor.client().await;
    assert_eq!(client.request("HEAD", "/health", &[], b"").await.status, 200);
    let metrics = ingestor.get("/metrics").await;
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    for name in [
        "mutt_ingest_requests_total",
        "mutt_ingest_queue_depth",
        "mutt_ingest_latency_seconds_bucket",
        "mutt_ingest_rate_limit_hits_total",
    ] {
        assert!(metrics.text.contains(name), "{name}");
    }
}

#[tokio::test]
async fn every_refusal_has_its_status_code_and_words() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[("INGEST_MAX_BODY_BYTES", "4096")]).await;
    let mut client = ingestor.client().await;
    let key = ("X-API-KEY", KEY);

    // No or a wrong key, before routing; the connection stays usable.
    for headers in [vec![], vec![("X-API-KEY", "wrong")], vec![("X-API-KEY", "")], vec![("X-API-KEY", "t\u{e4}st")]] {
        for (method, path) in [("POST", "/ingest"), ("GET", "/nowhere"), ("POST", "/health"), ("PUT", "/ingest")] {
            let answer =
                client.request(method, path, &headers, if method == "POST" { GOOD.as_bytes() } else { b"" }).await;
            assert_eq!(answer.refusal(), (401, "auth".into(), "Unauthorized".into()), "{method} {path}");
        }
    }
    let mut request = async |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let mut all = vec![key];
        all.extend_from_slice(headers);
        client.request(method, path, &all, body).await
    };
    let answer = request("POST", "/nowhere", &[], GOOD.as_bytes()).await;
    assert_eq!((answer.status, answer.refusal().1.as_str()), (404, "not_found"));
    let answer = request("GET", "/ingest", &[], b"").await;
    assert_eq!((answer.status, answer.refusal().1.as_str()), (405, "method"));
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = request("POST", "/health", &[], b"").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    for header in [("Content-Type", "text/plain"), ("Content-Encoding", "br")] {
        let answer = request("POST", "/ingest", &[header], GOOD.as_bytes()).await;
        assert_eq!((answer.status, answer.refusal().1.as_str()), (415, "media_type"), "{header:?}");
    }
    for (body, code, message) in [
        ("", "json", "Empty or null payload"),
        ("null", "json", "Empty or null payload"),
        ("[]", "json", "Empty or null payload"),
        ("\"text\"", "json", "Payload must be a JSON object"),
        ("{\"a\":NaN}", "json", "Invalid JSON: expected a value at byte 5"),
        ("{\"a\":1e999}", "json", "Invalid JSON: number out of range at byte 7"),
        ("{\"a\":\"\\ud800\"}", "json", "Invalid JSON: lone surrogate at byte 11"),
        ("{\"hostname\":1,\"hostname\":2}", "json", "Invalid JSON: duplicate key at byte 14"),
        ("{}", "validation", "Missing required fields: ['hostname', 'message', 'timestamp']"),
        ("{\"message\":\"x\"}", "validation", "Missing required fields: ['hostname', 'timestamp']"),
    ] {
        let answer = request("POST", "/ingest", &[("X-Correlation-ID", "c-1")], body.as_bytes()).await;
        assert_eq!(answer.refusal(), (400, code.into(), message.into()), "{body}");
        assert_eq!(answer.json()["correlation_id"], "c-1");
    }
    let nested = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
    assert_eq!(request("POST", "/ingest", &[], nested.as_bytes()).await.refusal().0, 400);
    assert_eq!(request("POST", "/ingest", &[], b"{\"a\":\"\xff\"}").await.refusal().0, 400);
    assert_eq!(request("POST", "/ingest", &[], GOOD.as_bytes()).await.status, 200, "the connection still serves");

    // Too large by its length, before it is read, and in chunks.
    let mut client = ingestor.client().await;
    client
        .send(
            format!("POST /ingest HTTP/1.1\r\nHost: t\r\nX-API-KEY: {KEY}\r\nContent-Length: 4097\r\n\r\n").as_bytes(),
        )
        .await;
    let answer = client.answer("POST").await;
    assert_eq!((answer.status, answer.refusal().1.as_str()), (413, "too_large"));
    let mut client = ingestor.client().await;
    client
        .send(
            format!("POST /ingest HTTP/1.1\r\nHost: t\r\nX-API-KEY: {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n")
                .as_bytes(),
        )
        .await;
    for _ in 0..5 {
        client.send(format!("400\r\n{}\r\n", " ".repeat(1_024)).as_bytes()).await;
    }
    assert_eq!(client.answer("POST").await.refusal().0, 413);

    assert_eq!(integer(&redis, &["LLEN", "mutt:ingest_queue"]).await, 1);
    assert_eq!(integer(&redis, &["LLEN", "mutt:dlq:ingest"]).await, 0, "single events are the sender's to mend");
    for (reason, count) in
        [("auth", 16.0), ("json", 10.0), ("validation", 2.0), ("media_type", 2.0), ("too_large", 2.0)]
    {
        let line = format!(r#"mutt_ingest_requests_total{{reason="{reason}",status="fail"}}"#);
        assert!((ingestor.metric(&line).await - count).abs() < 0.1, "{reason}: {}", ingestor.metric(&line).await);
    }
}

#[tokio::test]
async fn keys_rotate_without_a_restart() {
    let redis = RedisServer::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, "first\n").unwrap();
    let settings =
        [("INGEST_API_KEY", ""), ("INGEST_API_KEY_FILE", path.to_str().unwrap()), ("INGEST_API_KEY_NEXT", "next")];
    let ingestor = Ingestor::start(redis.port(), &settings).await;
    let status = async |key: &str| {
        ingestor.client().await.request("POST", "/ingest", &[("X-API-KEY", key)], GOOD.as_bytes()).await.status
    };
    assert_eq!((status("first").await, status("next").await, status("second").await), (200, 200, 401));
    std::fs::write(&path, "second\n").unwrap();
    eventually("the new key is taken", async || status("second").await == 200).await;
    assert_eq!((status("first").await, status("next").await), (401, 200));
}

#[tokio::test]
async fn bodies_in_chunks_pieces_and_after_100_continue() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;
    let mut client = ingestor.client().await;
    client
        .send(
            format!("POST /ingest HTTP/1.1\r\nHost: t\r\nX-API-KEY: {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n")
                .as_bytes(),
        )
        .await;
    let (first, second) = GOOD.split_at(20);
    for part in [first, second] {
        client.send(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).await;
        sleep(Duration::from_millis(20)).await;
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.answer("POST").await.status, 200);

    let head = format!("POST /ingest HTTP/1.1\r\nHost: t\r\nX-API-KEY: {KEY}\r\nContent-Length: {}\r\n", GOOD.len());
    client.send(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).await;
    client.continued().await;
    client.send(GOOD.as_bytes()).await;
    assert_eq!(client.answer("POST").await.status, 200);

    // Two requests in one piece: the answers come in order.
    let one = format!("{head}\r\n{GOOD}");
    client.send(format!("{one}{one}").as_bytes()).await;
    assert_eq!(client.answer("POST").await.json()["queue_depth"], 3);
    assert_eq!(client.answer("POST").await.json()["queue_depth"], 4);

    // A sender that goes away within its body queues nothing.
    let mut gone = ingestor.client().await;
    gone.send(format!("{head}\r\n{first}").as_bytes()).await;
    drop(gone);
    assert_eq!(ingestor.post(GOOD).await.json()["queue_depth"], 5);
    ingestor.stop().await.unwrap();
    assert_eq!(queue(&redis).await.len(), 5);
}

#[tokio::test]
async fn a_drain_answers_what_was_begun() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;
    let mut begun = ingestor.client().await;
    begun
        .send(
            format!("POST /ingest HTTP/1.1\r\nHost: t\r\nX-API-KEY: {KEY}\r\nContent-Length: {}\r\n\r\n", GOOD.len())
                .as_bytes(),
        )
        .await;
    begun.send(&GOOD.as_bytes()[..10]).await;
    let mut idle = ingestor.client().await;
    assert_eq!(idle.request("GET", "/live", &[], b"").await.status, 200);
    ingestor.shutdown.request();
    idle.closed().await;
    begun.send(&GOOD.as_bytes()[10..]).await;
    assert_eq!(begun.answer("POST").await.status, 200);
    ingestor.ended().await.unwrap();
    assert_eq!(integer(&redis, &["LLEN", "mutt:ingest_queue"]).await, 1);
}

#[tokio::test]
async fn an_end_under_load_loses_nothing_that_was_answered_with_200() {
    const SENDERS: usize = 8;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;
    let url = format!("http://{}/ingest", ingestor.address);
    let answered = Arc::new(Mutex::new(Vec::new()));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (client, url, answered) = (reqwest::Client::new(), url.clone(), answered.clone());
            tokio::spawn(async move {
                // Until the connection is closed and none is accepted any more.
                while let Ok(answer) = client.post(&url).header("X-API-KEY", KEY).body(GOOD).send().await {
                    if answer.status() == 200
                        && let Ok(body) = answer.text().await
                    {
                        let body: Value = serde_json::from_str(&body).unwrap();
                        answered.lock().unwrap().push(body["correlation_id"].as_str().unwrap().to_owned());
                    }
                }
            })
        })
        .collect();
    eventually("events flow", async || answered.lock().unwrap().len() >= 10 * SENDERS).await;
    ingestor.stop().await.unwrap();
    for sender in senders {
        timeout(PATIENCE, sender).await.unwrap().unwrap();
    }
    let queued = queue(&redis).await;
    let queued: HashSet<&str> = queued.iter().map(|event| event["_correlation_id"].as_str().unwrap()).collect();
    let answered = answered.lock().unwrap();
    assert!(answered.iter().all(|id| queued.contains(id.as_str())), "{} of {}", queued.len(), answered.len());
}
