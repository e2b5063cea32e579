//! `mutt-cluster run`, in three processes. The outermost one makes directory and cgroups and waits. Within mount, network
//! and process namespaces, `init` is process 1: when it ends, for whatever reason, the kernel kills every process of the
//! node and takes its mounts, interfaces and firewall tables with it. The innermost one starts the node and runs the
//! command.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use mutt_servers::{ManagedChild, ServerDirectory};
use rustix::process::{Signal, WaitOptions};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Binaries, ClusterError, Keda,
    binaries::installed,
    cgroup,
    node::{Node, NodeOptions},
    process::tail,
};

/// Cgroups of this tool are named after the directory of their run.
const CGROUP_PREFIX: &str = "mutt-server-";
/// A command that Ctrl-C reached too may still want to clean up.
const INTERRUPT_GRACE: Duration = Duration::from_secs(10);
/// The kernel ends the processes of a namespace in no time; it may be busy with freeing their memory.
const CGROUP_TRIES: usize = 100;
const CGROUP_PAUSE: Duration = Duration::from_millis(50);
/// Lines of each log that a failure shows.
const LOG_LINES: usize = 4;
/// What every program of the node is made of.
const BUILT: &[&str] = &[
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "pause",
    "helm3",
    "helm4",
];
const INSTALLED: &[&str] = &["etcd", "runc", "ip", "nft", "iptables", "conntrack", "mount", "tar", "unshare"];

/// What to run on a node of its own.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Image archives (as of `docker save`) that the node shall have.
    pub images: Vec<PathBuf>,
    /// Whether the node shall have KEDA.
    pub keda: bool,
    /// Where the logs are kept when something fails.
    pub logs: PathBuf,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Runs a command beside a node of its own and leaves nothing behind.
///
/// # Errors
/// When the node cannot be prepared; what happens within is told by the exit code.
pub async fn run(options: RunOptions) -> Result<u8, ClusterError> {
    check()?;
    if options.keda {
        Keda::cached().images()?;
    }
    sweep();
    let directory = ServerDirectory::create()?;
    let name = directory.path().file_name().unwrap_or_default().to_owned();
    cgroup::create(&name)?;
    let mut arguments: Vec<OsString> = vec!["inside".into(), "--directory".into(), directory.path().into()];
    for image in &options.images {
        let image = fs::canonicalize(image).map_err(ClusterError::io(format!("find the image {}", image.display())))?;
        arguments.extend(["--image".into(), image.into()]);
    }
    if options.keda {
        arguments.push("--keda".into());
    }
    arguments.push("--".into());
    arguments.extend(options.command.iter().cloned());
    let outcome = in_namespaces(&arguments).await;
    remove_cgroup(&name).await;
    let code = outcome?;
    if code != 0 {
        keep_logs(&directory.path().join("logs"), &options.logs)?;
    }
    Ok(code)
}

/// Everything that must be there, before anything is started.
fn check() -> Result<(), ClusterError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ClusterError::NotRoot);
    }
    let binaries = Binaries::cached();
    BUILT.iter().try_for_each(|name| binaries.get(name).map(drop))?;
    binaries.kubectl()?;
    INSTALLED.iter().try_for_each(|name| installed(name).map(drop))
}

/// Removes what killed runs have left. A cgroup whose directory is locked belongs to a run that is still going on.
fn sweep() {
    mutt_servers::sweep_abandoned();
    for name in cgroup::named(CGROUP_PREFIX) {
        if !ServerDirectory::exists(&name) && !cgroup::remove(&name) {
            tracing::warn!(cgroup = %name.display(), "processes of an earlier run are still in their cgroup");
        }
    }
}

async fn in_namespaces(arguments: &[OsString]) -> Result<u8, ClusterError> {
    let this = env::current_exe().map_err(ClusterError::io("find this program"))?;
    let mut command = Command::new(installed("unshare")?);
    command.args(["--mount", "--propagation=slave", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(this).arg("init").args(arguments);
    let listen = |kind| signal(kind).map_err(ClusterError::io("listen for signals"));
    let (mut interrupt, mut terminate, mut hang_up) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let failed = || ClusterError::io("run in namespaces");
    let mut child = ManagedChild::spawn_attached(command, Signal::KILL).map_err(failed())?;
    let ended = tokio::select! {
        status = child.wait(Duration::MAX) => status.map_err(failed())?,
        _ = interrupt.recv() => child.wait(INTERRUPT_GRACE).await.map_err(failed())?,
        _ = terminate.recv() => None,
        _ = hang_up.recv() => None,
    };
    match ended {
        Some(status) => Ok(code(status)),
        // Dropping the child kills it, and with it everything.
        None => Ok(code(child.kill().map_err(failed())?)),
    }
}

async fn remove_cgroup(name: &OsStr) {
    for _ in 0..CGROUP_TRIES {
        if cgroup::remove(name) {
            return;
        }
        tokio::time::sleep(CGROUP_PAUSE).await;
    }
    tracing::warn!(cgroup = %name.display(), "the cgroup stays; the next run removes it");
}

/// As a shell has it: 128 and the signal's number.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// Keeps the logs of a failed run and shows their ends.
fn keep_logs(from: &Path, to: &Path) -> Result<(), ClusterError> {
    let kept = |result: std::io::Result<()>| result.map_err(ClusterError::io(format!("keep logs in {}", to.display())));
    kept(fs::create_dir_all(to))?;
    let mut files: Vec<PathBuf> =
        fs::read_dir(from).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort_unstable();
    for file in &files {
        kept(fs::copy(file, to.join(file.file_name().unwrap_or_default())).map(drop))?;
        eprintln!("── {} ──\n{}", file.file_name().unwrap_or_default().display(), tail(file, LOG_LINES));
    }
    eprintln!("mutt-cluster: the logs are in {}", to.display());
    Ok(())
}

/// Process 1 of the node: starts the rest and takes the status of every process whose parent has ended.
///
/// # Errors
/// When the rest cannot be started.
pub fn init(arguments: &[OsString]) -> Result<u8, ClusterError> {
    let failed = || ClusterError::io("start the node's process");
    let this = env::current_exe().map_err(failed())?;
    let child = Command::new(this).args(arguments).spawn().map_err(failed())?.id();
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().cast_unsigned() == child => {
                return Ok(code(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(ClusterError::io("wait for the node")(errno.into())),
        }
    }
}

/// Starts the node in `directory` and runs the command; only within the namespaces of [`run`].
///
/// # Errors
/// When the node does not start.
pub async fn inside(
    directory: PathBuf,
    images: Vec<PathBuf>,
    keda: bool,
    command: &[OsString],
) -> Result<u8, ClusterError> {
    let start = std::time::Instant::now();
    let cgroup = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let node = Node::start(NodeOptions { directory, cgroup, images, keda }).await?;
    eprintln!("mutt-cluster: the node is ready after {:.1} s", start.elapsed().as_secs_f64());
    // Ctrl-C is the command's now; this process ends when the command has.
    let _interrupts = signal(SignalKind::interrupt()).map_err(ClusterError::io("listen for signals"))?;
    node.run(command).await.map(code)
}
