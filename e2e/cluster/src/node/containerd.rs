//! containerd, with runc and the CNI plugins of the distribution.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::network;
use crate::{
    Binaries, ClusterError,
    binaries::installed,
    process::{Program, output},
};

const READY_MAX: Duration = Duration::from_mins(1);
/// Where distributions keep the CNI plugins.
const CNI_FOLDERS: &[&str] = &["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];
/// The image that holds a pod's namespaces.
pub(super) const PAUSE: &str = "localhost/pause:1";

#[derive(Debug)]
pub(super) struct Containerd {
    program: Program,
    ctr: PathBuf,
    socket: PathBuf,
}

impl Containerd {
    pub(super) async fn start(binaries: &Binaries, directory: &Path) -> Result<Self, ClusterError> {
        let path = binaries.get("containerd")?;
        let ctr = binaries.get("ctr")?;
        installed("runc")?;
        let write = |name: &str, text: String| {
            let file = directory.join(name);
            fs::write(&file, text).map_err(ClusterError::io(format!("write {}", file.display()))).map(|()| file)
        };
        let cni = directory.join("cni");
        fs::create_dir_all(&cni).map_err(ClusterError::io(format!("make {}", cni.display())))?;
        write("cni/10-mutt.conflist", format!("{:#}\n", cni_config()))?;
        write("spec.json", runtime_spec(&ctr)?.to_string())?;
        let config = write("containerd.toml", config(binaries, directory)?)?;
        // containerd looks for the shim in PATH.
        let mut folders = vec![binaries.folder().to_path_buf()];
        folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
        let search = env::join_paths(folders).unwrap_or_default();
        let arguments = vec![format!("--config={}", config.display())];
        let program = Program::start_with_path("containerd", path, arguments, directory, Some(search))?;
        let mut this = Self { program, ctr, socket: socket(directory) };
        let (ctr, socket) = (this.ctr.clone(), this.socket.clone());
        let answers = async || {
            let mut command = tokio::process::Command::new(&ctr);
            command.arg("--address").arg(&socket).arg("version");
            command.output().await.is_ok_and(|output| output.status.success())
        };
        this.program.ready(READY_MAX, answers).await?;
        Ok(this)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn ended(&mut self) -> Option<ClusterError> {
        self.program.ended()
    }

    /// Imports an image archive into the namespace of the kubelet's images.
    pub(super) async fn import(&self, archive: &Path) -> Result<(), ClusterError> {
        let mut command = tokio::process::Command::new(&self.ctr);
        command
            .arg("--address")
            .arg(&self.socket)
            .args(["--namespace=k8s.io", "images", "import", "--local"])
            .arg(archive);
        let what = || format!("import {}", archive.display());
        let output = command.output().await.map_err(ClusterError::io(what()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ClusterError::io(what())(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())))
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("containerd.sock")
}

fn config(binaries: &Binaries, directory: &Path) -> Result<String, ClusterError> {
    let cni = CNI_FOLDERS.iter().find(|folder| Path::new(folder).join("ptp").is_file());
    let cni = cni.ok_or(ClusterError::NotInstalled("a folder of CNI plugins"))?;
    let shim = binaries.get("containerd-shim-runc-v2")?;
    let (shim, socket, directory) = (shim.display(), socket(directory), directory.display());
    let socket = socket.display();
    Ok(format!(
        r#"version = 3
root = "{directory}/containerd"
state = "{directory}/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{socket}"
[plugins.'io.containerd.cri.v1.runtime']
  # Virtual machines and containers may lack the capability to lower the OOM score.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    runtime_path = '{shim}'
    base_runtime_spec = '{directory}/spec.json'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{cni}']
    conf_dir = '{directory}/cni'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{PAUSE}'
"#
    ))
}

/// Every pod has a link of its own to the node, so that traffic between pods is routed and Services work among them,
/// whether or not the kernel lets the firewall see bridged packets.
fn cni_config() -> Value {
    json!({ "cniVersion": "0.4.0", "name": "mutt", "plugins": [{
        "type": "ptp",
        "ipMasq": false,
        "ipam": {
            "type": "host-local",
            "ranges": [[{ "subnet": network::PODS }]],
            "routes": [{ "dst": "0.0.0.0/0" }],
        },
    }] })
}

/// containerd's own default with the limits of this process: raising one needs a capability that may be missing.
fn runtime_spec(ctr: &Path) -> Result<Value, ClusterError> {
    let text = output(ctr, &["oci", "spec"])?;
    let mut spec: Value = serde_json::from_str(&text)
        .map_err(|error| ClusterError::io("read the runtime's default spec")(error.into()))?;
    let files = getrlimit(Resource::Nofile);
    let limit = files.current.or(files.maximum).unwrap_or(1024);
    spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": limit, "hard": limit }]);
    Ok(spec)
}
