//! Rules as Redis serves them: publication by sequence number, and acknowledgements.

use mutt_queue::served_rules::{self, Ack, AckError, Published, Served};
use mutt_queue::{Notice, Role, WorkerId, heartbeat};

use crate::support::{Pipeline, redis_cmd};

#[tokio::test]
async fn only_a_greater_sequence_number_is_published_and_old_bundles_stay_for_ten_minutes() {
    let p = Pipeline::fresh().await;
    let publish = async |sequence, revision: &str, text: &str| {
        served_rules::publish(&p.redis, &p.keys, sequence, revision, text).await.unwrap()
    };
    let served = async |revision: &str| Served::read(&p.redis, &p.keys, revision).await.unwrap();
    assert_eq!(served("r1").await, Served::default());
    let mut told = p.redis.subscribe(p.keys.reload_channels());
    assert_eq!(told.next().await, Notice::Resubscribed);
    assert_eq!(publish(7, "r1", "one").await, Published::Current);
    let notices = [told.next().await, told.next().await];
    let expected = p.keys.reload_channels().map(|channel| Notice::Message { channel, payload: b"r1".to_vec() });
    assert_eq!(notices, expected);
    assert_eq!(publish(7, "r2", "stale").await, Published::Outdated(7));
    assert_eq!(publish(6, "r2", "stale").await, Published::Outdated(7));
    assert_eq!(served_rules::bundle(&p.redis, &p.keys, "r2").await.unwrap(), None);
    assert_eq!(publish(9, "r2", "two").await, Published::Current);
    let now = served("r2").await;
    assert_eq!((now.sequence, now.revision.as_deref(), now.holds_bundle), (9, Some("r2"), true));
    assert_eq!(served_rules::bundle(&p.redis, &p.keys, "r1").await.unwrap().as_deref(), Some("one"));
    let ttl_s =
        async |revision| -> i64 { p.redis.query(redis_cmd(&["TTL", &p.keys.rules_bundle(revision)])).await.unwrap() };
    assert!((1..=600).contains(&ttl_s("r1").await));
    assert_eq!(ttl_s("r2").await, -1);
    // Back to the first: what was about to expire is current again and stays.
    assert_eq!(publish(10, "r1", "one").await, Published::Current);
    assert_eq!(ttl_s("r1").await, -1);
}

#[tokio::test]
async fn only_live_workers_count_and_who_said_nothing_lags() {
    let p = Pipeline::fresh().await;
    let [old, new, mute] = ["old", "new", "mute"].map(WorkerId::named);
    let ack = |revision: &str, errors| Ack { revision: revision.into(), rules: 3, errors };
    let mut told = p.redis.subscribe([p.keys.rules_ack.clone()]);
    assert_eq!(told.next().await, Notice::Resubscribed);
    for worker in [&new, &mute] {
        heartbeat::beat(&p.redis, &p.keys, Role::Alerter, worker, "up").await.unwrap();
    }
    let refused = AckError { rule: "ns/a".into(), reason: "too large".into(), last_good_in_use: true };
    served_rules::acknowledge(&p.redis, &p.keys, &old, &ack("r1", vec![])).await.unwrap();
    served_rules::acknowledge(&p.redis, &p.keys, &new, &ack("r2", vec![refused.clone()])).await.unwrap();
    for worker in ["old", "new"] {
        assert!(matches!(told.next().await, Notice::Message { payload, .. } if payload == worker.as_bytes()));
    }
    let acks = Served::read(&p.redis, &p.keys, "r2").await.unwrap().acks_of("r2");
    assert_eq!(acks.laggards, ["mute"]);
    assert_eq!(acks.by_worker.keys().collect::<Vec<_>>(), ["new"]);
    assert_eq!(acks.by_worker["new"].errors, [refused]);
    heartbeat::stop(&p.redis, &p.keys, Role::Alerter, &mute).await.unwrap();
    assert!(Served::read(&p.redis, &p.keys, "r2").await.unwrap().acks_of("r2").all_active());
    served_rules::forget(&p.redis, &p.keys, &new).await.unwrap();
    assert_eq!(Served::read(&p.redis, &p.keys, "r2").await.unwrap().acks_of("r2").laggards, ["new"]);
}

#[tokio::test]
async fn what_a_dead_worker_said_goes_with_it() {
    let p = Pipeline::fresh().await;
    let [dead, live] = ["dead", "live"].map(WorkerId::named);
    for worker in [&dead, &live] {
        heartbeat::beat(&p.redis, &p.keys, Role::Alerter, worker, "up").await.unwrap();
        let ack = Ack { revision: "r1".into(), rules: 3, errors: vec![] };
        served_rules::acknowledge(&p.redis, &p.keys, worker, &ack).await.unwrap();
    }
    let said = async || -> Vec<String> {
        let mut said: Vec<String> = p.redis.query(redis_cmd(&["HKEYS", &p.keys.rules_ack])).await.unwrap();
        said.sort();
        said
    };
    heartbeat::beat(&p.redis, &p.keys, Role::Alerter, &live, "up").await.unwrap();
    assert_eq!(said().await, ["dead", "live"]);
    // Its heartbeat lapsed in the first second of the epoch.
    p.redis.query::<i64>(redis_cmd(&["ZADD", &p.keys.workers_alerter, "1", "dead"])).await.unwrap();
    heartbeat::beat(&p.redis, &p.keys, Role::Alerter, &live, "up").await.unwrap();
    assert_eq!(said().await, ["live"]);
    let served = Served::read(&p.redis, &p.keys, "r1").await.unwrap();
    assert_eq!((served.alive, served.acks.len()), (vec!["live".to_owned()], 1));
}
