//! Counting of unhandled events and the meta-alert at exactly the threshold.

use std::collections::BTreeMap;

use mutt_queue::{Batch, Finished, Leases, MetaWanted, Outbox, UnhandledGroup, UnhandledLimits};

use crate::support::{Pipeline, json, redis_cmd, take};

const LIMITS: UnhandledLimits = UnhandledLimits { threshold: 10, expiry_s: 600 };

fn unhandled(batch: &Batch, signature: &str) -> Outbox {
    let events = (0..batch.elements.len() as u32).collect();
    let group = UnhandledGroup { host: "sw1".into(), signature: signature.into(), events };
    Outbox { events: batch.elements.len() as u64, unhandled: vec![group], ..Outbox::default() }
}

async fn finish(leases: &Leases, batch: &Batch, outbox: &Outbox, metas: &[(usize, &str)]) -> Finished {
    let metas: BTreeMap<_, _> = metas.iter().map(|(group, text)| (*group, json(text))).collect();
    leases.finish(&batch.lease, outbox, LIMITS, &metas).await.unwrap()
}

#[tokio::test]
async fn one_meta_alert_at_exactly_the_threshold_over_two_batches() {
    let p = Pipeline::fresh().await;
    p.accept(0, 40).await;
    let a = p.alerter("a");
    let (first, second) = (take(&a, 7).await, take(&a, 7).await);
    let done = finish(&a, &first, &unhandled(&first, "s"), &[]).await;
    assert_eq!(done, Finished::Done { alert_depth: 0, meta_alerts: 0 });

    // 7 before, so the third event of this batch is the tenth.
    let outbox = unhandled(&second, "s");
    let wanted = finish(&a, &second, &outbox, &[]).await;
    assert_eq!(wanted, Finished::MetaWanted(vec![MetaWanted { group: 0, event: 2 }]));
    p.assert_conserved().await;
    assert_eq!(p.totals().await.in_flight, 7, "nothing was changed");
    let done = finish(&a, &second, &outbox, &[(0, r#"{"meta":1}"#)]).await;
    assert_eq!(done, Finished::Done { alert_depth: 1, meta_alerts: 1 });
    assert_eq!(p.list(&p.keys.alert_queue).await, [r#"{"meta":1}"#]);

    // Blocked for as long as the window: neither counted nor alerted.
    let third = take(&a, 20).await;
    let done = finish(&a, &third, &unhandled(&third, "s"), &[]).await;
    assert_eq!(done, Finished::Done { alert_depth: 1, meta_alerts: 0 });
    let counter = p.keys.unhandled_counter("sw1", "s");
    let exists: i64 = p.redis.query(redis_cmd(&["EXISTS", &counter])).await.unwrap();
    let blocked_s: i64 = p.redis.query(redis_cmd(&["TTL", &format!("{counter}:triggered")])).await.unwrap();
    assert_eq!(exists, 0);
    assert!((1..=600).contains(&blocked_s), "{blocked_s}");
    p.assert_conserved().await;
}

#[tokio::test]
async fn one_batch_may_cross_at_once_and_a_prepared_alert_is_not_pushed_in_vain() {
    let p = Pipeline::fresh().await;
    p.accept(0, 30).await;
    let a = p.alerter("a");
    let big = take(&a, 25).await;
    let outbox = unhandled(&big, "s");
    assert_eq!(finish(&a, &big, &outbox, &[]).await, Finished::MetaWanted(vec![MetaWanted { group: 0, event: 9 }]));
    assert_eq!(finish(&a, &big, &outbox, &[(0, "1")]).await, Finished::Done { alert_depth: 1, meta_alerts: 1 });

    let small = take(&a, 5).await;
    let done = finish(&a, &small, &unhandled(&small, "other"), &[(0, "2")]).await;
    assert_eq!(done, Finished::Done { alert_depth: 1, meta_alerts: 0 });
}

#[tokio::test]
async fn the_window_runs_from_the_first_event() {
    let p = Pipeline::fresh().await;
    p.accept(0, 6).await;
    let a = p.alerter("a");
    let counter = p.keys.unhandled_counter("sw1", "s");
    let first = take(&a, 3).await;
    finish(&a, &first, &unhandled(&first, "s"), &[]).await;
    let _: i64 = p.redis.query(redis_cmd(&["EXPIRE", &counter, "50"])).await.unwrap();
    let second = take(&a, 3).await;
    finish(&a, &second, &unhandled(&second, "s"), &[]).await;
    let left_s: i64 = p.redis.query(redis_cmd(&["TTL", &counter])).await.unwrap();
    let count: i64 = p.redis.query(redis_cmd(&["GET", &counter])).await.unwrap();
    assert_eq!(count, 6);
    assert!(left_s <= 50, "a later event must not lengthen the window: {left_s}");
}
