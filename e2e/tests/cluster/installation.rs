//! The operator's installation, which the tests share: installed by the first that needs it.

use tokio::sync::{RwLock, RwLockReadGuard};

use super::kubectl::{readme, run};

static INSTALLED: RwLock<bool> = RwLock::const_new(false);

/// Keeps the operator installed as the README says, as long as it lives.
pub(crate) struct Installed(#[allow(dead_code, reason = "held, not read")] RwLockReadGuard<'static, bool>);

/// Installs charts and operator with the README's block, unless they are.
pub(crate) async fn installed() -> Installed {
    loop {
        let guard = INSTALLED.read().await;
        if *guard {
            return Installed(guard);
        }
        drop(guard);
        let mut guard = INSTALLED.write().await;
        if !*guard {
            readme("install", &[("REGISTRY", super::REGISTRY.to_owned())]).await;
            *guard = true;
        }
    }
}

/// Takes the cluster for one test alone, with nothing installed; afterwards the next test installs again.
pub(crate) async fn alone() -> tokio::sync::RwLockWriteGuard<'static, bool> {
    let mut guard = INSTALLED.write().await;
    if *guard {
        for (release, namespace) in [("mutt-operator", "mutt-system"), ("mutt-crds", "default")] {
            run("helm", &["uninstall", release, "--namespace", namespace, "--wait"]).await.unwrap();
        }
        // Uninstalling keeps the definitions on purpose; here they go, with all objects of theirs.
        let crds = ["muttpipelines.mutt.dev", "alertrules.mutt.dev"];
        run("kubectl", &["delete", "crd", crds[0], crds[1], "--wait=true"]).await.unwrap();
        run("kubectl", &["delete", "namespace", "mutt-system", "--wait=true"]).await.unwrap();
        *guard = false;
    }
    guard
}

/// Kills the operator's process in the pod of this UID, as a crash would: it cannot say goodbye.
pub(crate) fn kill_operator(pod_uid: &str) {
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

/// Writes objects, Events and logs of the operator and a namespace to standard error when the test that holds it fails.
pub(crate) struct DumpOnFailure(pub(crate) &'static str);

impl Drop for DumpOnFailure {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for namespace in [self.0, "mutt-system"] {
            for arguments in [
                &["get", "all,muttpipelines,alertrules,configmaps,endpointslices", "-o", "wide"][..],
                &["get", "muttpipelines,alertrules", "-o", "yaml"],
                &["get", "horizontalpodautoscalers", "-o", "yaml"],
                &["get", "apiservice", "v1beta1.external.metrics.k8s.io", "-o", "yaml"],
                &["get", "events", "--sort-by=.lastTimestamp"],
                &["describe", "pods"],
                &["logs", "--all-containers", "--prefix", "--tail=60", "-l", "app.kubernetes.io/part-of=mutt"],
                &["logs", "--all-containers", "--prefix", "--tail=200", "-l", "app.kubernetes.io/name=mutt-operator"],
            ] {
                let output = std::process::Command::new("kubectl").args(["-n", namespace]).args(arguments).output();
                if let Ok(output) = output {
                    eprintln!("--- kubectl -n {namespace} {}", arguments.join(" "));
                    eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                }
            }
        }
    }
}
