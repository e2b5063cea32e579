//! The node: containerd, kubelet and kube-proxy beside a control plane, inside the namespaces that [`crate::run`] made.

mod containerd;
mod dns;
mod image;
mod kubelet;
mod mounts;
mod network;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{Binaries, ClusterError, ControlPlane, ControlPlaneOptions, Keda, process::Program};
use containerd::Containerd;
use dns::Dns;

/// Name of the one node.
const NODE: &str = "node1";
/// Long for a loaded machine; alone it takes a quarter of that.
const READY_MAX: Duration = Duration::from_mins(3);
const POLL: Duration = Duration::from_millis(100);

/// What the node is made of and what to run on it.
#[derive(Debug)]
pub(crate) struct NodeOptions {
    /// Where the programs keep their files.
    pub(crate) directory: PathBuf,
    /// Name of the cgroup that pods live below, in every hierarchy.
    pub(crate) cgroup: String,
    /// Image archives to import.
    pub(crate) images: Vec<PathBuf>,
    /// Whether KEDA is installed.
    pub(crate) keda: bool,
}

/// A running node with its control plane.
#[derive(Debug)]
pub(crate) struct Node {
    directory: PathBuf,
    binaries: Binaries,
    control_plane: ControlPlane,
    // Dropped in this order.
    kube_proxy: Program,
    kubelet: Program,
    _dns: Dns,
    containerd: Containerd,
}

impl Node {
    /// Starts everything and waits until the node takes pods.
    pub(crate) async fn start(options: NodeOptions) -> Result<Self, ClusterError> {
        let binaries = Binaries::cached();
        let directory = options.directory;
        network::set_up()?;
        mounts::set_up(&directory)?;
        let containerd = Containerd::start(&binaries, &directory).await?;
        let control_plane = ControlPlaneOptions::new()
            .controller_manager()
            .scheduler()
            .serve_node(network::NODE, network::SERVICES)
            .directory(&directory);
        let mut archives = options.images;
        if options.keda {
            archives.extend(Keda::cached().images()?);
        }
        let images = image::import(&containerd, &directory, &binaries, &archives);
        let (control_plane, images) = tokio::join!(control_plane.start(), images);
        images?;
        let control_plane = control_plane?;
        let dns = Dns::start(&control_plane).await?;
        let kubelet = kubelet::kubelet(&control_plane, &containerd, &binaries, &options.cgroup)?;
        let kube_proxy = kubelet::kube_proxy(&control_plane, &binaries)?;
        let mut node = Self { directory, binaries, control_plane, kube_proxy, kubelet, _dns: dns, containerd };
        node.ready().await?;
        if options.keda {
            Keda::cached().install(&node.binaries.kubectl()?, node.control_plane.kubeconfig(), &node.directory)?;
        }
        Ok(node)
    }

    /// The node takes pods when it is Ready and nothing taints it any more, and its pods have a service account.
    async fn ready(&mut self) -> Result<(), ClusterError> {
        let start = Instant::now();
        loop {
            let node = self.get(&format!("/api/v1/nodes/{NODE}")).await;
            let account = self.get("/api/v1/namespaces/default/serviceaccounts/default").await;
            if node.as_ref().is_some_and(takes_pods) && account.is_some() {
                return Ok(());
            }
            if let Some(error) =
                self.kubelet.ended().or_else(|| self.kube_proxy.ended()).or_else(|| self.containerd.ended())
            {
                return Err(error);
            }
            if start.elapsed() > READY_MAX {
                let conditions = node.map(|node| node["status"]["conditions"].to_string()).unwrap_or_default();
                return Err(self.kubelet.not_ready(format!("the node is not Ready: {conditions}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let url = format!("{}{path}", self.control_plane.url());
        let answer = self.control_plane.client().get(url).send().await.ok()?;
        if answer.status().is_success() { answer.json().await.ok() } else { None }
    }

    /// Runs a command that finds the cluster in its environment; it shares this process's terminal.
    pub(crate) async fn run(&self, command: &[OsString]) -> Result<ExitStatus, ClusterError> {
        let [program, arguments @ ..] = command else {
            return Err(ClusterError::io("run nothing")(std::io::ErrorKind::InvalidInput.into()));
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let path =
            env::join_paths(std::iter::once(self.binaries.folder().to_path_buf()).chain(env::split_paths(&path)))
                .unwrap_or(path);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("PATH", path)
            .env("KUBECONFIG", self.control_plane.kubeconfig())
            .env("MUTT_CLUSTER_NODE_IP", network::NODE.to_string())
            .env("MUTT_CLUSTER_DIR", &self.directory);
        let what = format!("run {}", Path::new(program).display());
        tokio::process::Command::from(command).status().await.map_err(ClusterError::io(what))
    }
}

fn takes_pods(node: &Value) -> bool {
    let ready = node["status"]["conditions"].as_array().is_some_and(|conditions| {
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    });
    ready && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
}
