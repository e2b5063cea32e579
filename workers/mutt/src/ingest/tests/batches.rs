//! Arrays, NDJSON, compression, refused items and repeats.

use std::io::Write;

use serde_json::json;

use super::*;

const REFUSED: &str = r#"{"hostname":"sw9","message":""}"#;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn arrays_and_lines_are_answered_per_item() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;

    let answer = ingestor.post_with(&[("X-Correlation-ID", "req")], format!("[{GOOD}]")).await;
    let body = answer.json();
    assert_eq!(answer.status, 200, "an array of one is a batch: {body}");
    assert_eq!(
        (&body["status"], &body["accepted"], &body["rejected"], &body["queue_depth"]),
        (&json!("queued"), &json!(1), &json!(0), &json!(1))
    );
    assert_eq!(body["correlation_ids"].as_array().unwrap().len(), 1);

    let lines = format!("{GOOD}\n{REFUSED}\n\n{{\"a\":\n{GOOD}\n");
    let answer =
        ingestor.post_with(&[("Content-Type", "application/x-ndjson"), ("X-Correlation-ID", "req")], lines).await;
    let body = answer.json();
    assert_eq!(answer.status, 207, "{body}");
    assert_eq!((&body["accepted"], &body["rejected"], &body["queue_depth"]), (&json!(2), &json!(2), &json!(3)));
    assert_eq!(
        body["errors"][0],
        json!({"index": 1, "code": "validation", "message": "Field 'message' must be a non-empty string"})
    );
    assert_eq!((&body["errors"][1]["index"], &body["errors"][1]["code"]), (&json!(2), &json!("json")));

    let queued = queue(&redis).await;
    assert_eq!(queued.len(), 3);
    assert!(queued.iter().all(|event| event["_request_id"] == "req"));
    let ids: Vec<_> = queued[1..].iter().map(|event| event["_correlation_id"].clone()).collect();
    assert_eq!(json!(ids), body["correlation_ids"]);

    let letters = dlq(&redis).await;
    assert_eq!(letters.len(), 2);
    assert_eq!(
        (&letters[0]["event"], &letters[0]["reason"]),
        (&json!({"hostname": "sw9", "message": ""}), &json!("validation"))
    );
    assert_eq!((&letters[1]["event"], &letters[1]["reason"]), (&json!("{\"a\":"), &json!("json")));
    assert!(letters[0]["dead_lettered_at"].is_string() && letters[0]["attempts"].is_number());

    let answer = ingestor.post("[1, \"two\", null]").await;
    let body = answer.json();
    assert_eq!((answer.status, &body["accepted"], &body["rejected"]), (400, &json!(0), &json!(3)), "{body}");
    assert_eq!(body["errors"].as_array().unwrap().len(), 3);
    assert_eq!(dlq(&redis).await.len(), 5);
    assert_eq!(integer(&redis, &["HGET", "mutt:totals", "rejected"]).await, 5);
    assert!((ingestor.metric(r#"mutt_ingest_requests_total{reason="",status="success"}"#).await - 3.0).abs() < 0.1);
    assert!((ingestor.metric(r#"mutt_ingest_requests_total{reason="json",status="fail"}"#).await - 4.0).abs() < 0.1);

    let answer = ingestor.post(format!("[{GOOD},{{\"hostname\":\"cut")).await;
    assert_eq!(answer.refusal().0, 400);
    assert_eq!(queue(&redis).await.len(), 3, "nothing of a broken array is queued");
    let kept = dlq(&redis).await;
    assert!(kept[5]["event"].as_str().unwrap().ends_with("{\"hostname\":\"cut"), "and nothing of it is lost");
}

#[tokio::test]
async fn a_full_dead_letter_list_refuses_the_whole_batch() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[("INGEST_DLQ_MAX", "2")]).await;
    assert_eq!(ingestor.post(format!("[{GOOD},{REFUSED}]")).await.status, 207);
    for body in [format!("[{GOOD},{REFUSED},{REFUSED}]"), format!("[{REFUSED},1,2,3,{GOOD}]")] {
        let answer = ingestor.post(body).await;
        assert_eq!((answer.status, answer.refusal().1.as_str()), (503, "dlq_full"));
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(ingestor.post(format!("[{REFUSED}]")).await.status, 400);
    assert_eq!((queue(&redis).await.len(), dlq(&redis).await.len()), (1, 2));
    assert_eq!(ingestor.post(GOOD).await.status, 200);
}

#[tokio::test]
async fn compressed_bodies_are_bounded() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[("INGEST_MAX_BODY_BYTES", "1048576")]).await;
    let batch = format!("[{}]", vec![GOOD; 50].join(","));
    let zstd = ruzstd::encoding::compress_to_vec(batch.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest);
    for (encoding, body) in [("gzip", gzip(batch.as_bytes())), ("zstd", zstd)] {
        let answer = ingestor.post_with(&[("Content-Encoding", encoding)], &body).await;
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(50)), "{encoding}");
        let answer = ingestor.post_with(&[("Content-Encoding", encoding)], &body[..body.len() / 2]).await;
        assert_eq!((answer.status, answer.refusal().1.as_str()), (400, "json"), "{encoding}");
    }
    // Large once inflated: parsed off the main thread.
    let batch = format!("[{}]", vec![GOOD; 10_000].join(","));
    assert!(batch.len() > 512 * 1024 && batch.len() < 1024 * 1024);
    let answer = ingestor.post_with(&[("Content-Encoding", "gzip")], gzip(batch.as_bytes())).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(10_000)));
    let answer = ingestor.post(&batch).await;
    assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(10_000)));
    assert_eq!(integer(&redis, &["LLEN", "mutt:ingest_queue"]).await, 20_100);

    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let answer = ingestor.post_with(&[("Content-Encoding", "gzip")], bomb).await;
    assert_eq!((answer.status, answer.refusal().1.as_str()), (413, "too_large"));
}

#[tokio::test]
async fn a_long_line_and_many_large_bodies_at_once() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;
    let longest = GOOD.replace("link up", &"m".repeat(1 << 20));
    assert_eq!(ingestor.post(&longest).await.status, 200);
    let longer = GOOD.replace("link up", &"m".repeat((1 << 20) + 1));
    assert_eq!(ingestor.post(&longer).await.refusal().1, "validation");
    let body = format!("[{}]", vec![longest; 2].join(","));
    let posts = futures_util::future::join_all((0..12).map(|_| ingestor.post(&body))).await;
    assert!(posts.iter().all(|answer| answer.status == 200));
    assert_eq!(integer(&redis, &["LLEN", "mutt:ingest_queue"]).await, 25);
}

#[tokio::test]
async fn a_repeat_with_the_same_idempotency_key_gets_the_first_answer() {
    let redis = RedisServer::start().await.unwrap();
    let ingestor = Ingestor::start(redis.port(), &[]).await;
    let single = [("Idempotency-Key", "one")];
    let first = ingestor.post_with(&single, GOOD).await;
    let again = ingestor.post_with(&single, GOOD).await;
    assert_eq!((first.status, first.json()), (again.status, again.json()));

    let mixed = format!("[{GOOD},{REFUSED},{GOOD}]");
    let batch = [("Idempotency-Key", "two \u{e4}"), ("X-Correlation-ID", "c")];
    let first = ingestor.post_with(&batch, &mixed).await;
    let again = ingestor.post_with(&batch, &mixed).await;
    assert_eq!(first.status, 207);
    assert_eq!((first.status, first.json()), (again.status, again.json()));
    assert_eq!((queue(&redis).await.len(), dlq(&redis).await.len()), (3, 1));

    let refused = [("Idempotency-Key", "three")];
    let first = ingestor.post_with(&refused, "[1,2]").await;
    let again = ingestor.post_with(&refused, "[1,2]").await;
    assert_eq!(first.status, 400);
    assert_eq!((first.status, first.json()), (again.status, again.json()));
    assert_eq!(dlq(&redis).await.len(), 3);

    // Two at the same time: one of them is the first.
    let at_once = [("Idempotency-Key", "four")];
    let batch = format!("[{GOOD},{GOOD}]");
    let (left, right) = tokio::join!(ingestor.post_with(&at_once, &batch), ingestor.post_with(&at_once, &batch));
    assert_eq!(left.json()["correlation_ids"], right.json()["correlation_ids"]);
    assert_eq!(queue(&redis).await.len(), 5);
    assert_eq!(integer(&redis, &["HGET", "mutt:totals", "accepted"]).await, 5);
}
