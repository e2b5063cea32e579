//! The operator's leader is killed; the other replica takes over.

use mutt_e2e::eventually;

use super::installation::{DumpOnFailure, installed, kill_operator};
use super::kubectl::{get, kubectl};
use super::pipeline::Deployed;

const NAMESPACE: &str = "leader";

#[tokio::test]
async fn rules_go_on_when_the_leader_is_killed() {
    let _operator = installed().await;
    let _dump = DumpOnFailure(NAMESPACE);
    let pipeline = Deployed::new(NAMESPACE).await;
    let holder = leader().await;
    let pod = holder.rsplit_once('_').map_or(holder.as_str(), |(pod, _)| pod).to_owned();
    let uid = get("mutt-system", "pod", &pod).await.unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    kill_operator(&uid);
    // Applied while nobody leads: the dead leader gave nothing back, its Lease has to lapse.
    pipeline.apply_rule("meanwhile", "contains: MEANWHILE-1").await;
    let took = pipeline.rule_active("meanwhile").await;
    println!("the leader was killed; a rule applied at once was active after {took:?}");
    eventually("another leader", async || leader().await != holder).await;
    pipeline.send("core-1", "MEANWHILE-1 link down").await;
    pipeline.alerted("MEANWHILE-1 link down").await;
    kubectl(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=3m"]).await;
}

async fn leader() -> String {
    let lease = get("mutt-system", "lease", "mutt-operator").await;
    lease.and_then(|lease| lease["spec"]["holderIdentity"].as_str().map(str::to_owned)).unwrap_or_default()
}
