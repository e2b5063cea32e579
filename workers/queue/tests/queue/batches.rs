//! Take, renew, hand back, finish, take over.

use std::sync::Arc;

use mutt_queue::{BatchId, Finished, KeyOverrides, Keys, Phase, TAKE_BYTES_MAX, TakeLimits, Takeover, totals};

use crate::support::{Pipeline, all_alerts, finish, json, plain, take, texts};

#[tokio::test]
async fn a_take_moves_the_oldest_and_tells_depth_and_revision() {
    let p = Pipeline::fresh().await;
    let alerter = p.alerter("a");
    assert_eq!(alerter.take(BatchId::new(), TakeLimits::default()).await.unwrap().batch, None);
    p.accept(0, 700).await;
    let _: () = p.redis.query(crate::support::redis_cmd(&["SET", &p.keys.rules_current, "r1"])).await.unwrap();

    let taken = alerter.take(BatchId::new(), TakeLimits::default()).await.unwrap();
    let batch = taken.batch.unwrap();
    assert_eq!(texts(&batch), (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!((taken.depth, taken.revision.as_deref()), (200, Some("r1")));

    let full = TakeLimits { count_min: 500, ..TakeLimits::default() };
    let refused = alerter.take(BatchId::new(), full).await.unwrap();
    assert_eq!((refused.batch, refused.depth), (None, 200));
    assert_eq!(texts(&take(&alerter, 3).await), ["500", "501", "502"]);
    p.assert_conserved().await;
}

#[tokio::test]
async fn a_take_is_bounded_in_bytes_but_never_starves() {
    let p = Pipeline::fresh().await;
    let alerter = p.alerter("a");
    let third = "x".repeat(TAKE_BYTES_MAX / 3);
    let huge = "y".repeat(TAKE_BYTES_MAX + 1);
    let elements = [third.clone(), third.clone(), third.clone(), third, huge, "z".into()];
    p.pusher("i").push(&[plain(&elements)]).await.unwrap();
    assert_eq!(take(&alerter, 500).await.elements.len(), 3);
    assert_eq!(take(&alerter, 500).await.elements.len(), 1);
    assert_eq!(take(&alerter, 500).await.elements[0].len(), TAKE_BYTES_MAX + 1);
    assert_eq!(texts(&take(&alerter, 500).await), ["z"]);
    p.assert_conserved().await;
}

#[tokio::test]
async fn a_repeated_take_gives_the_same_list_or_nothing() {
    let p = Pipeline::fresh().await;
    p.accept(0, 10).await;
    let (a, b) = (p.alerter("a"), p.alerter("b"));
    let id = BatchId::new();
    let limits = TakeLimits { count_max: 4, ..TakeLimits::default() };
    let first = a.take(id, limits).await.unwrap().batch.unwrap();
    assert_eq!(a.retake(id).await.unwrap().batch.as_ref(), Some(&first));
    assert_eq!(a.retake(BatchId::new()).await.unwrap().batch, None, "one that never happened takes nothing");

    // Taken over and finished meanwhile: taking afresh under the same id would lose its events.
    p.lapse(&first.lease).await;
    let other = b.recover(10).await.unwrap().remove(0).batch;
    assert_eq!(a.retake(id).await.unwrap().batch, None);
    finish(&b, &other.lease, &all_alerts(&other)).await;
    let again = a.retake(id).await.unwrap();
    assert_eq!((again.batch, again.depth), (None, 6));
    p.assert_conserved().await;
}

#[tokio::test]
async fn a_finish_does_everything_once() {
    let p = Pipeline::fresh().await;
    p.accept(0, 3).await;
    let alerter = p.alerter("a");
    let batch = take(&alerter, 3).await;
    let mut outbox = all_alerts(&batch);
    let text = |letter: &bytes::Bytes| String::from_utf8(letter.to_vec()).unwrap();
    outbox.alerts.truncate(1);
    outbox.dead_letters.push(json(r#"{"event":1,"reason":"not_an_object"}"#));
    outbox.last_letters.push(json(r#"{"event":2,"reason":"not_an_object"}"#));
    assert_eq!(finish(&alerter, &batch.lease, &outbox).await, Finished::Done { alert_depth: 1, meta_alerts: 0 });
    assert_eq!(finish(&alerter, &batch.lease, &outbox).await, Finished::AlreadyDone);
    assert_eq!(p.list(&p.keys.alert_queue).await, ["0"]);
    assert_eq!(p.list(&p.keys.dlq_alerter).await, [text(&outbox.dead_letters[0])]);
    assert_eq!(p.list(&p.keys.dlq_dead).await, [text(&outbox.last_letters[0])]);
    let seen = p.totals().await;
    assert_eq!(
        (seen.count(totals::FINISHED), seen.count(totals::DEAD_LETTERED), seen.count(totals::ALERTS)),
        (1, 2, 1)
    );
    p.assert_conserved().await;
    let left: Vec<String> =
        p.redis.query(crate::support::redis_cmd(&["KEYS", &format!("{}:processing:*", p.keys.prefix)])).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_late_finish_is_fenced() {
    let p = Pipeline::fresh().await;
    p.accept(0, 5).await;
    let (frozen, successor) = (p.alerter("frozen"), p.alerter("successor"));
    let batch = take(&frozen, 5).await;
    p.lapse(&batch.lease).await;
    let recovered = successor.recover(10).await.unwrap().remove(0);
    assert_eq!(recovered.batch.elements, batch.elements);
    assert_eq!(recovered.batch.lease.fence.0, 2);

    assert_eq!(frozen.renew(std::slice::from_ref(&batch.lease)).await.unwrap(), [false]);
    assert!(!frozen.set_phase(&batch.lease, Phase::Holding).await.unwrap());
    assert_eq!(finish(&frozen, &batch.lease, &all_alerts(&batch)).await, Finished::LostLease);
    assert!(p.list(&p.keys.alert_queue).await.is_empty());
    let done = finish(&successor, &recovered.batch.lease, &all_alerts(&recovered.batch)).await;
    assert_eq!(done, Finished::Done { alert_depth: 5, meta_alerts: 0 });
    assert_eq!(finish(&frozen, &batch.lease, &all_alerts(&batch)).await, Finished::AlreadyDone);
    p.assert_conserved().await;
}

#[tokio::test]
async fn only_lapsed_leases_are_taken_over_and_each_once() {
    let p = Pipeline::fresh().await;
    p.accept(0, 4).await;
    let (a, b, c) = (p.alerter("a"), p.alerter("b"), p.alerter("c"));
    let batch = take(&a, 4).await;
    assert!(b.lapsed(10).await.unwrap().is_empty());
    assert_eq!(b.take_over(&batch.lease).await.unwrap(), Takeover::NotOurs);
    p.lapse(&batch.lease).await;
    let lapsed = b.lapsed(10).await.unwrap();
    assert_eq!(lapsed, [batch.lease.clone()]);

    let first = b.take_over(&lapsed[0]).await.unwrap();
    assert!(matches!(first, Takeover::Ours(_)));
    assert_eq!(c.take_over(&lapsed[0]).await.unwrap(), Takeover::NotOurs);
    assert_eq!(b.take_over(&lapsed[0]).await.unwrap(), first, "a repeat gives the same answer");
    p.assert_conserved().await;
}

#[tokio::test]
async fn renewing_a_lapsed_lease_in_time_keeps_it() {
    let p = Pipeline::fresh().await;
    p.accept(0, 4).await;
    let (a, b) = (p.alerter("a"), p.alerter("b"));
    let batch = take(&a, 4).await;
    p.lapse(&batch.lease).await;
    assert_eq!(a.renew(std::slice::from_ref(&batch.lease)).await.unwrap(), [true]);
    assert!(b.recover(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_lapses_in_matching_are_tries_and_the_named_element_is_poison() {
    let p = Pipeline::fresh().await;
    p.accept(0, 4).await;
    let a = p.alerter("a");
    let mut lease = take(&a, 4).await.lease;

    a.set_phase(&lease, Phase::Holding).await.unwrap();
    p.lapse(&lease).await;
    let recovered = a.recover(1).await.unwrap().remove(0);
    assert_eq!((recovered.tries, recovered.single_step()), (0, false));
    a.hand_back(&recovered.batch.lease).await.unwrap();
    let recovered = a.recover(1).await.unwrap().remove(0);
    assert_eq!(recovered.tries, 0, "a hand-back is no try and lapses at once");
    lease = recovered.batch.lease;

    for tries in 1..=3 {
        p.lapse(&lease).await;
        let recovered = a.recover(1).await.unwrap().remove(0);
        assert_eq!((recovered.tries, recovered.single_step()), (tries, tries == 3));
        assert!(recovered.poisoned.is_empty());
        lease = recovered.batch.lease;
    }
    for (step, named) in [(2, vec![2]), (0, vec![2, 0])] {
        a.set_step(&lease, Some(step)).await.unwrap();
        p.lapse(&lease).await;
        let recovered = a.recover(1).await.unwrap().remove(0);
        assert_eq!(recovered.poisoned, named);
        assert!(recovered.single_step());
        lease = recovered.batch.lease;
    }
    a.set_step(&lease, Some(3)).await.unwrap();
    a.set_step(&lease, None).await.unwrap();
    p.lapse(&lease).await;
    assert_eq!(a.recover(1).await.unwrap().remove(0).poisoned, [2, 0]);
}

#[tokio::test]
async fn a_batch_that_redis_lost_is_reported_and_dropped() {
    let p = Pipeline::fresh().await;
    p.accept(0, 4).await;
    let a = p.alerter("a");
    let batch = take(&a, 4).await;
    let _: i64 = p.redis.query(crate::support::redis_cmd(&["DEL", &a.list(&batch.lease)])).await.unwrap();
    p.lapse(&batch.lease).await;
    assert_eq!(a.take_over(&batch.lease).await.unwrap(), Takeover::Gone);
    assert!(a.lapsed(10).await.unwrap().is_empty());
    assert_eq!(p.totals().await.gap_events(), 4, "the gap shows the loss");
}

#[tokio::test]
async fn explicit_names_win_over_the_prefix_everywhere() {
    let mut p = Pipeline::fresh().await;
    let own = |name: &str| Some(format!("{}-own-{name}", p.keys.prefix));
    let overrides = KeyOverrides {
        ingest_queue: own("in"),
        alert_queue: own("out"),
        processing_alerter: own("flight"),
        dlq_alerter: own("dlq"),
        metrics: own("metrics"),
        ..KeyOverrides::default()
    };
    p.keys = Arc::new(Keys::with(&p.keys.prefix, overrides));
    p.accept(0, 6).await;
    let (a, b) = (p.alerter("a"), p.alerter("b"));
    let (first, second) = (take(&a, 2).await, take(&a, 2).await);
    assert!(a.list(&first.lease).starts_with(&p.keys.processing_alerter));
    let mut outbox = all_alerts(&first);
    outbox.dead_letters.push(outbox.alerts.remove(0));
    finish(&a, &first.lease, &outbox).await;
    p.lapse(&second.lease).await;
    assert_eq!(b.recover(1).await.unwrap()[0].batch.elements, second.elements);
    let seen = p.totals().await;
    assert_eq!((seen.ingest_queue, seen.in_flight, seen.alert_queue, seen.dlq_alerter), (2, 2, 1, 1));
    p.assert_conserved().await;
}
