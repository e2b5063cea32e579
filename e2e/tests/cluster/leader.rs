//! The operator's leader is killed; the other replica takes over.

use mutt_e2e::eventually;

use super::installation::{DumpOnFailure, installed};
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
    kill(&uid);
    // Applied while nobody leads: the dead leader gave nothing back, its Lease has to lapse.
    pipeline.apply_rule("meanwhile", "contains: MEANWHILE-1").await;
    let took = pipeline.rule_active("meanwhile").await;
    println!("the leader was killed; a rule applied at once was active after {took:?}");
    eventually("another leader", async || leader().await != holder).await;
    pipeline.send("core-1", "MEANWHILE-1 link down").await;
    pipeline.alerted("MEANWHILE-1 link down").await;
    kubectl(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=3m"]).await;
}

/// Kills the operator's process in the pod of this UID, as a crash would: it cannot say goodbye.
fn kill(pod_uid: &str) {
    let of_pod = |process: &std::path::Path| {
        let read = |file: &str| std::fs::read_to_string(process.join(file)).unwrap_or_default();
        read("cgroup").contains(pod_uid) && read("comm").trim() == "mutt-operator"
    };
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let pids: Vec<i32> = processes
        .filter(|process| of_pod(process))
        .filter_map(|process| process.file_name()?.to_str()?.parse().ok())
        .collect();
    assert_eq!(pids.len(), 1, "one process of the operator in its pod");
    rustix::process::kill_process(rustix::process::Pid::from_raw(pids[0]).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
}

async fn leader() -> String {
    let lease = get("mutt-system", "lease", "mutt-operator").await;
    lease.and_then(|lease| lease["spec"]["holderIdentity"].as_str().map(str::to_owned)).unwrap_or_default()
}
