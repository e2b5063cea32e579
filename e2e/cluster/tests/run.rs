//! `mutt-cluster run` from outside. Needs root, so that `make e2e` runs it and `make unit` does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a condition may take on a loaded machine before a test gives up.
const LIMIT: Duration = Duration::from_mins(3);
const RUN: &str = env!("CARGO_BIN_EXE_mutt-cluster");

fn start(logs: &Path, script: &str) -> Child {
    let mut command = Command::new(RUN);
    command.arg("run").arg("--logs").arg(logs).args(["--", "bash", "-c", script]);
    command.stdin(Stdio::null()).spawn().unwrap()
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < LIMIT, "not seen within {} s: {what}", LIMIT.as_secs());
        #[allow(clippy::disallowed_methods)] // There is no runtime here.
        thread::sleep(Duration::from_millis(50));
    }
}

/// The command lines of all processes that name a directory.
fn processes_of(directory: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let commands = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    commands
        .map(|command| String::from_utf8_lossy(&command).into_owned())
        .filter(|command| command.contains(directory))
        .collect()
}

fn cgroups_of(directory: &str) -> usize {
    let name = Path::new(directory).file_name().unwrap();
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    hierarchies.filter(|entry| entry.path().join(name).exists()).count()
        + usize::from(Path::new("/sys/fs/cgroup").join(name).exists())
}

#[test]
fn the_code_of_the_command_is_passed_on_and_nothing_stays() {
    let files = tempfile::tempdir().unwrap();
    let (told, logs) = (files.path().join("directory"), files.path().join("logs"));
    let script = format!("kubectl get node node1 && echo $MUTT_CLUSTER_DIR > {} && exit 7", told.display());
    assert_eq!(start(&logs, &script).wait().unwrap().code(), Some(7));
    let directory = fs::read_to_string(told).unwrap();
    let directory = directory.trim();
    assert!(!Path::new(directory).exists());
    assert_eq!(processes_of(directory), Vec::<String>::new());
    assert_eq!(cgroups_of(directory), 0);
    // A command that fails may have the cluster to blame.
    assert!(logs.join("kubelet.log").is_file());
}

#[test]
fn a_killed_run_ends_at_once_and_the_next_one_removes_the_rest() {
    let files = tempfile::tempdir().unwrap();
    let (told, logs) = (files.path().join("directory"), files.path().join("logs"));
    // A pod, so that there are a shim, a mount and cgroups below the first.
    let script = format!(
        "kubectl run pod --image=localhost/pause:1 --image-pull-policy=Never && kubectl wait --for=condition=Ready pod/pod --timeout=120s \
         && echo $MUTT_CLUSTER_DIR > {0}.new && mv {0}.new {0} && sleep infinity",
        told.display()
    );
    let mut run = start(&logs, &script);
    eventually("the pod runs", || told.exists() || run.try_wait().unwrap().is_some());
    let directory = fs::read_to_string(told).unwrap();
    let directory = directory.trim();
    assert_ne!(processes_of(directory).len(), 0);
    run.kill().unwrap();
    run.wait().unwrap();
    eventually("its processes are gone", || processes_of(directory).is_empty());
    assert_eq!(start(&logs, "true").wait().unwrap().code(), Some(0));
    assert!(!Path::new(directory).exists());
    assert_eq!(cgroups_of(directory), 0);
}
