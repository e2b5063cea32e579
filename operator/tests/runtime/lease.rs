//! Leader election: never two, never none for long.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use mutt_cluster::ControlPlane;
use mutt_operator::runtime::{
    health::Health,
    lease::{Candidate, Held, LeaseLost, holder},
    metrics::Metrics,
    shutdown::Shutdown,
};
use mutt_servers::{Fault, FaultProxy};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{LIMIT, client, eventually};

/// No test waits for such a Lease to lapse.
const FOREVER: Duration = Duration::from_secs(300);

async fn leases() -> Api<Lease> {
    let cluster = ControlPlane::shared().await.unwrap();
    Api::namespaced(client(cluster.kubeconfig(), None).await, "default")
}

fn candidate(api: &Api<Lease>, lease: &str, identity: impl Into<String>, duration: Duration) -> Candidate {
    Candidate { api: api.clone(), name: lease.to_owned(), identity: identity.into(), duration }
}

async fn acquired(candidate: &Candidate) -> Held {
    timeout(LIMIT, candidate.acquire(&Health::new())).await.expect("leads within the limit")
}

async fn held_by(api: &Api<Lease>, lease: &str) -> Option<String> {
    holder(&api.get(lease).await.unwrap()).map(str::to_owned)
}

#[tokio::test]
async fn of_many_at_the_same_version_one_wins_and_each_release_hands_on_at_once() {
    let (api, name) = (leases().await, "one-of-many");
    let free = Lease { metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }, spec: None };
    api.create(&PostParams::default(), &free).await.unwrap();
    let candidates: Vec<_> = (0..8).map(|id| candidate(&api, name, format!("c{id}"), FOREVER)).collect();
    // All read the same version of the free Lease, then all write.
    let mut racing: FuturesUnordered<_> =
        candidates.iter().map(|one| async move { (one, one.acquire(&Health::new()).await) }).collect();
    for won in 1..=8 {
        // The Lease would lapse only after five minutes: it is the release that hands it on.
        let (winner, held) = timeout(LIMIT, racing.next()).await.expect("one wins within the limit").unwrap();
        let lease = api.get(name).await.unwrap();
        assert_eq!(holder(&lease), Some(winner.identity.as_str()));
        assert_eq!(lease.spec.unwrap().lease_transitions, Some(won));
        winner.release(held).await;
    }
    assert_eq!(held_by(&api, name).await, None);
}

#[tokio::test]
async fn a_lease_that_is_not_there_is_created_by_one() {
    let (api, name) = (leases().await, "not-there");
    let candidates: Vec<_> = (0..4).map(|id| candidate(&api, name, format!("c{id}"), FOREVER)).collect();
    let mut racing: FuturesUnordered<_> =
        candidates.iter().map(|one| async move { (one, one.acquire(&Health::new()).await) }).collect();
    let (winner, _held) = timeout(LIMIT, racing.next()).await.unwrap().unwrap();
    // The others have had their try when they have looked again.
    let second = timeout(Duration::from_secs(3), racing.next()).await;
    assert!(second.is_err(), "two hold the Lease");
    assert_eq!(held_by(&api, name).await, Some(winner.identity.clone()));
}

#[tokio::test]
async fn a_silent_holder_is_replaced_after_its_time_whatever_its_clock_says() {
    let api = leases().await;
    for (name, hours) in [("clock-behind", -1), ("clock-ahead", 1)] {
        let renewed = MicroTime(Timestamp::now() + SignedDuration::from_hours(hours));
        let spec = LeaseSpec {
            holder_identity: Some("dead".to_owned()),
            lease_duration_seconds: Some(3),
            renew_time: Some(renewed),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec) }).await.unwrap();
        let begun = Instant::now();
        acquired(&candidate(&api, name, "successor", FOREVER)).await;
        assert!(begun.elapsed() >= Duration::from_secs(3), "{name}: taken after {:?}", begun.elapsed());
        assert_eq!(held_by(&api, name).await.as_deref(), Some("successor"));
    }
}

#[tokio::test]
async fn a_holder_that_renews_keeps_it_and_outlives_annotations_and_deletion() {
    let (api, name) = (leases().await, "kept");
    let metrics = Metrics::new().unwrap();
    let (trigger, shutdown) = Shutdown::channel();
    let leader = candidate(&api, name, "leader", Duration::from_secs(9));
    let rival = candidate(&api, name, "rival", Duration::from_secs(9));
    let held = acquired(&leader).await;
    let meddle = async {
        // A rival that knows of a holder does not take a deleted Lease before the holder's time is over.
        for change in ["annotated", "deleted", "left alone"] {
            let before = metrics.lease_renewals.get();
            match change {
                "annotated" => {
                    let note = json!({"metadata": {"annotations": {"note": "by a person"}}});
                    api.patch(name, &PatchParams::default(), &Patch::Merge(note)).await.unwrap();
                }
                "deleted" => drop(api.delete(name, &DeleteParams::default()).await.unwrap()),
                _ => {}
            }
            eventually(change, async || (metrics.lease_renewals.get() >= before + 2).then_some(())).await;
        }
        trigger.request();
    };
    let health = Health::new();
    let rivals = async {
        tokio::select! {
            () = meddle => {}
            _ = rival.acquire(&health) => panic!("the rival took a Lease that was renewed"),
        }
    };
    let (kept, ()) = tokio::join!(leader.keep(held, &metrics, &shutdown), rivals);
    leader.release(kept.expect("kept until the end")).await;
    assert_eq!(held_by(&api, name).await, None);
}

#[tokio::test]
async fn a_holder_whose_lease_was_taken_stops() {
    let (api, name) = (leases().await, "taken");
    let metrics = Metrics::new().unwrap();
    let (_trigger, shutdown) = Shutdown::channel();
    let leader = candidate(&api, name, "leader", Duration::from_secs(3));
    let held = acquired(&leader).await;
    let other = json!({"spec": {"holderIdentity": "other"}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(other)).await.unwrap();
    let lost = timeout(LIMIT, leader.keep(held, &metrics, &shutdown)).await.unwrap();
    assert!(matches!(lost, Err(LeaseLost::Taken(by)) if by == "other"));
}

#[tokio::test]
async fn a_holder_cut_off_from_the_api_server_stops_before_another_leads() {
    let cluster = ControlPlane::shared().await.unwrap();
    let port: u16 = cluster.url().rsplit(':').next().unwrap().parse().unwrap();
    let proxy = FaultProxy::start(port).await.unwrap();
    let through = client(cluster.kubeconfig(), Some(proxy.through(cluster.url(), port))).await;
    let (api, name) = (leases().await, "cut-off");
    let duration = Duration::from_secs(12);
    let metrics = Metrics::new().unwrap();
    let (_trigger, shutdown) = Shutdown::channel();
    let leader = candidate(&Api::namespaced(through, "default"), name, "cut off", duration);
    let successor = candidate(&api, name, "successor", duration);
    let held = acquired(&leader).await;
    proxy.set(Fault::HalfOpen).await;
    let leads = async { (leader.keep(held, &metrics, &shutdown).await.map(drop), Instant::now()) };
    let succeeds = async {
        acquired(&successor).await;
        Instant::now()
    };
    let both = Box::pin(async { tokio::join!(leads, succeeds) });
    let ((lost, lost_at), led_at) = timeout(LIMIT, both).await.unwrap();
    assert!(matches!(lost, Err(LeaseLost::Silent(_))), "{lost:?}");
    assert!(lost_at < led_at, "both led for {:?}", lost_at - led_at);
}

#[tokio::test]
async fn the_settings_of_a_lease_are_readable_in_the_cluster() {
    let (api, name) = (leases().await, "readable");
    acquired(&candidate(&api, name, "pod_1", Duration::from_secs(15))).await;
    let lease = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
    let spec: BTreeMap<String, serde_json::Value> = serde_json::from_value(lease["spec"].clone()).unwrap();
    assert_eq!(spec["holderIdentity"], "pod_1");
    assert_eq!(spec["leaseDurationSeconds"], 15);
    assert!(spec.contains_key("acquireTime") && spec.contains_key("renewTime"));
}
