//! The ingestor's push: counts, idempotency, refusals, acknowledgement.

use std::time::Duration;

use mutt_queue::{Ack, COMMIT_TTL_S, Idempotency, Pusher, Request, WorkerId, totals};

use crate::support::{Pipeline, plain, redis_cmd};

#[tokio::test]
async fn a_push_queues_in_order_and_counts() {
    let p = Pipeline::fresh().await;
    let pusher = p.pusher("i");
    let (one, two) = (["a", "b"], ["c"]);
    let pushed = pusher.push(&[plain(&one), plain(&two)]).await.unwrap();
    assert_eq!((pushed.depth, pushed.repeated), (3, vec![None, None]));
    assert_eq!(pusher.push(&[plain(&["d"])]).await.unwrap().depth, 4);
    assert_eq!(p.list(&p.keys.ingest_queue).await, ["a", "b", "c", "d"]);
    assert_eq!(p.totals().await.count(totals::ACCEPTED), 4);
    p.assert_conserved().await;

    let pattern = format!("{}:*", p.keys.metrics);
    let mut counters: Vec<String> = p.redis.query(redis_cmd(&["KEYS", &pattern])).await.unwrap();
    counters.sort();
    let mut sum = 0;
    for counter in &counters {
        let count: i64 = p.redis.query(redis_cmd(&["GET", counter])).await.unwrap();
        let ttl_s: i64 = p.redis.query(redis_cmd(&["TTL", counter])).await.unwrap();
        let ttl_max_s = match counter {
            c if c.contains(":1m:") => 7_200,
            c if c.contains(":1h:") => 172_800,
            _ => 2_592_000,
        };
        assert!(ttl_s > ttl_max_s / 2 && ttl_s <= ttl_max_s, "{counter} {ttl_s}");
        sum += count;
    }
    assert_eq!(sum, 12, "each event once in each of three resolutions: {counters:?}");
}

#[tokio::test]
async fn a_repeat_within_ten_minutes_gets_the_first_answer_and_queues_nothing() {
    let p = Pipeline::fresh().await;
    let pusher = p.pusher("i");
    let (one, two, free) = (["a", "b"], ["c"], ["d"]);
    let keyed = |elements, hash, answer| Request { elements, idempotency: Some(Idempotency { hash, answer }) };
    let first = pusher.push(&[keyed(&one[..], "k1", b"first"), plain(&free)]).await.unwrap();
    assert_eq!((first.depth, first.repeated), (3, vec![None, None]));

    let again = pusher
        .push(&[keyed(&one[..], "k1", b"second"), keyed(&two[..], "k2", b"other"), keyed(&two[..], "k2", b"twin")])
        .await
        .unwrap();
    assert_eq!(again.depth, 4);
    assert_eq!(again.repeated, [Some(b"first".to_vec()), None, Some(b"other".to_vec())]);
    let only_repeats = pusher.push(&[keyed(&one[..], "k1", b"third")]).await.unwrap();
    assert_eq!((only_repeats.depth, only_repeats.repeated), (4, vec![Some(b"first".to_vec())]));
    assert_eq!(p.list(&p.keys.ingest_queue).await, ["a", "b", "d", "c"]);
    let ttl_s: u64 = p.redis.query(redis_cmd(&["TTL", &p.keys.idempotency("k1")])).await.unwrap();
    assert!(ttl_s > 0 && ttl_s <= COMMIT_TTL_S);
    p.assert_conserved().await;
}

#[tokio::test]
async fn the_commit_key_knows_which_pushes_landed() {
    let p = Pipeline::fresh().await;
    let pusher = p.pusher("i");
    let keyed = Request { elements: &["x"], idempotency: Some(Idempotency { hash: "h", answer: b"" }) };
    pusher.push(&[plain(&["a"])]).await.unwrap();
    pusher.push(&[keyed]).await.unwrap();
    pusher.push(&[plain(&["b"])]).await.unwrap();
    for (seq, landed) in [(0, false), (1, true), (2, true), (3, true), (4, false)] {
        assert_eq!(pusher.landed(seq).await.unwrap(), landed, "{seq}");
    }
    // A refused push must not hide behind a later one that landed.
    let _: () = p.redis.query(redis_cmd(&["RENAME", &p.keys.ingest_queue, "{t}:aside"])).await.unwrap();
    let _: () = p.redis.query(redis_cmd(&["SET", &p.keys.ingest_queue, "text"])).await.unwrap();
    let refused = pusher.push(&[plain(&["c"])]).await.unwrap_err();
    assert_eq!((refused.seq, refused.source.code()), (4, Some("WRONGTYPE")));
    let _: () = p.redis.query(redis_cmd(&["DEL", &p.keys.ingest_queue])).await.unwrap();
    pusher.push(&[plain(&["d"])]).await.unwrap();
    for (seq, landed) in [(0, false), (1, true), (3, true), (4, false), (5, true), (6, false)] {
        assert_eq!(pusher.landed(seq).await.unwrap(), landed, "{seq}");
    }
    // Many holes: the oldest runs are forgotten, the latest are known.
    for seq in (6..200).step_by(2) {
        let _: () = p.redis.query(redis_cmd(&["SET", &p.keys.ingest_queue, "text"])).await.unwrap();
        assert_eq!(pusher.push(&[plain(&["x"])]).await.unwrap_err().seq, seq);
        let _: () = p.redis.query(redis_cmd(&["DEL", &p.keys.ingest_queue])).await.unwrap();
        pusher.push(&[plain(&["y"])]).await.unwrap();
        assert!(pusher.landed(seq + 1).await.unwrap() && !pusher.landed(seq).await.unwrap());
    }
    assert!(!pusher.landed(1).await.unwrap());
    let kept: String = p.redis.query(redis_cmd(&["GET", &p.keys.commit(&WorkerId::named("i"))])).await.unwrap();
    assert!(kept.len() <= 400, "{kept}");
}

#[tokio::test]
async fn a_wrong_type_stops_everything() {
    let p = Pipeline::fresh().await;
    let pusher = p.pusher("i");
    let _: () = p.redis.query(redis_cmd(&["SET", &p.keys.ingest_queue, "text"])).await.unwrap();
    let keyed = Request { elements: &["x"], idempotency: Some(Idempotency { hash: "h", answer: b"" }) };
    for request in [plain(&["a"]), keyed] {
        let error = pusher.push(&[request]).await.unwrap_err();
        assert_eq!(error.source.code(), Some("WRONGTYPE"), "{error}");
    }
    let left: Vec<String> = p.redis.query(redis_cmd(&["KEYS", &format!("{}:*", p.keys.prefix)])).await.unwrap();
    assert_eq!(left, [p.keys.ingest_queue.clone()], "nothing else was written");
}

#[tokio::test]
async fn more_elements_than_lua_can_unpack() {
    let p = Pipeline::fresh().await;
    let pusher = p.pusher("i");
    let elements: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    let keyed = Request { elements: &elements[..], idempotency: Some(Idempotency { hash: "h", answer: b"" }) };
    assert_eq!(pusher.push(&[keyed]).await.unwrap().depth, 20_000);
    assert_eq!(p.list(&p.keys.ingest_queue).await, elements);
    assert_eq!(pusher.push_refused(&elements, 20_000).await.unwrap(), Some(20_000));
}

#[tokio::test]
async fn refused_items_are_kept_up_to_a_bound() {
    let p = Pipeline::fresh().await;
    let pusher = p.pusher("i");
    assert_eq!(pusher.push_refused(&["1", "2"], 3).await.unwrap(), Some(2));
    assert_eq!(pusher.push_refused(&["3", "4"], 3).await.unwrap(), None, "all or none");
    assert_eq!(pusher.push_refused(&["5"], 3).await.unwrap(), Some(3));
    assert_eq!(p.list(&p.keys.dlq_ingest).await, ["1", "2", "5"]);
    assert_eq!(p.totals().await.count(totals::REJECTED), 3);
    p.assert_conserved().await;
}

#[tokio::test]
async fn a_push_that_no_replica_confirms_says_so() {
    let p = Pipeline::fresh().await;
    let worker = WorkerId::named("i");
    let pusher = Pusher::new(p.redis.clone(), p.keys.clone(), &worker, Ack::Replicas(1), Duration::from_millis(50));
    let error = pusher.push(&[plain(&["a"])]).await.unwrap_err();
    assert_eq!(error.source.code(), Some("NOTDURABLE"), "{error}");
    assert_eq!(p.list(&p.keys.ingest_queue).await, ["a"]);
}
