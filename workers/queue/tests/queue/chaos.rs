//! Two pushers and two workers behind a proxy that cuts connections, loses answers and delays:
//! whoever handles `Unknown` as the API says ends with every event exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mutt_queue::{
    Ack, Batch, BatchId, Finished, Leases, Pusher, Redis, RedisErrorKind, TakeLimits, Taken, Takeover, WorkerId,
};
use mutt_servers::{Fault, FaultProxy, RedisOptions};

use crate::support::{LIMITS, Pipeline, all_alerts, patient, plain};

/// Groups of three events that each pusher pushes.
const GROUPS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(2);

/// Repeats until the answer is known.
async fn known<T>(mut attempt: impl AsyncFnMut() -> Result<T, mutt_queue::RedisError>) -> T {
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn push_all(pusher: &Pusher, from: u32) {
    for group in 0..GROUPS {
        let first = from + 3 * group;
        let elements: Vec<String> = (first..first + 3).map(|n| n.to_string()).collect();
        loop {
            let Err(error) = pusher.push(&[plain(&elements)]).await else { break };
            assert!(!matches!(error.source.kind(), RedisErrorKind::Refused { .. }), "{error}");
            if error.source.is_unknown() && known(async || pusher.landed(error.seq).await).await {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn take_one(leases: &Leases) -> Option<Batch> {
    let id = BatchId::new();
    let limits = TakeLimits { count_max: 20, ..TakeLimits::default() };
    let taken: Taken = match leases.take(id, limits).await {
        Ok(taken) => taken,
        Err(error) if error.is_unknown() => known(async || leases.retake(id).await).await,
        Err(_) => return None,
    };
    taken.batch
}

async fn finish_one(leases: &Leases, batch: &Batch) {
    let outbox = all_alerts(batch);
    let done = known(async || leases.finish(&batch.lease, &outbox, LIMITS, &BTreeMap::new()).await).await;
    assert!(matches!(done, Finished::Done { .. } | Finished::AlreadyDone), "{done:?}");
}

/// Works until `pushed` says that no more comes and the queue is empty.
async fn work(leases: &Leases, pushed: &tokio::sync::Notify, all: &std::cell::Cell<bool>) {
    loop {
        let last_round = all.get();
        match take_one(leases).await {
            Some(batch) => finish_one(leases, &batch).await,
            None if last_round => {
                let seen = known(async || leases.take(BatchId::new(), TakeLimits::default()).await).await;
                match seen.batch {
                    Some(batch) => finish_one(leases, &batch).await,
                    None if seen.depth == 0 => return,
                    None => {}
                }
            }
            None => {
                tokio::select! {
                    () = pushed.notified() => {}
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

/// Bounded: on a machine so slow that no connection is made between two faults, all would stand still.
async fn misbehave(proxy: &FaultProxy) {
    for round in 0u64..400 {
        match round % 4 {
            0 => proxy.cut().await,
            1 => proxy.set(Fault::CutReplies((round as usize * 97) % 1500)).await,
            2 => proxy.set(Fault::Delay(Duration::from_millis(1))).await,
            _ => proxy.set(Fault::None).await,
        }
        tokio::time::sleep(Duration::from_millis(5 + round * 7 % 20)).await;
    }
    proxy.set(Fault::None).await;
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn every_event_arrives_exactly_once() {
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let proxy = FaultProxy::start(server.port()).await.unwrap();
    let seen = Pipeline::on(patient(&server.url()));
    let connect = || Redis::new(patient(&format!("redis://127.0.0.1:{}", proxy.port())));
    let through = Pipeline { redis: connect(), keys: Arc::clone(&seen.keys) };
    let pusher =
        Pusher::new(connect(), Arc::clone(&seen.keys), &WorkerId::named("i"), Ack::Memory, Duration::from_secs(1));
    let (a, b) = (through.alerter("a"), through.alerter("b"));

    let (pushed, all) = (tokio::sync::Notify::new(), std::cell::Cell::new(false));
    let pushing = async {
        tokio::join!(push_all(&pusher, 0), push_all(&pusher, 3 * GROUPS));
        all.set(true);
        pushed.notify_waiters();
    };
    let working = async { tokio::join!(pushing, work(&a, &pushed, &all), work(&b, &pushed, &all)) };
    tokio::select! {
        _ = working => {}
        () = misbehave(&proxy) => {}
    }

    // A take that was given up before its answer (none here) would lapse; nothing may be left.
    for lease in seen.alerter("c").lapsed(100).await.unwrap() {
        assert_eq!(seen.alerter("c").take_over(&lease).await.unwrap(), Takeover::NotOurs);
    }
    let mut numbers: Vec<u32> =
        seen.list(&seen.keys.alert_queue).await.iter().map(|text| text.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..6 * GROUPS).collect::<Vec<_>>());
    seen.assert_conserved().await;
}
