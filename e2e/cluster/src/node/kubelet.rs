//! kubelet and kube-proxy.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::{NODE, containerd::Containerd, dns, network};
use crate::{
    Binaries, ClusterError, ControlPlane,
    pki::{KeyFiles, Subject},
    process::Program,
};

pub(super) fn kubelet(
    control_plane: &ControlPlane,
    containerd: &Containerd,
    binaries: &Binaries,
    cgroup: &str,
) -> Result<Program, ClusterError> {
    let directory = control_plane.directory();
    let user = format!("system:node:{NODE}");
    let subject = Subject { user: &user, group: Some("system:nodes") };
    let kubeconfig = control_plane.authority().kubeconfig("kubelet", subject, control_plane.url())?;
    let names = [network::NODE.to_string(), NODE.to_owned()];
    let serving = control_plane.authority().issue("kubelet-server", subject, &names)?;
    let root = directory.join("kubelet");
    let config = directory.join("kubelet.json");
    let settings = kubelet_config(control_plane, containerd, &serving, cgroup);
    fs::write(&config, format!("{settings:#}\n")).map_err(ClusterError::io(format!("write {}", config.display())))?;
    let arguments = vec![
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", network::NODE),
        format!("--root-dir={}", root.display()),
        format!("--cert-dir={}", root.join("pki").display()),
        "--v=2".to_owned(),
    ];
    Program::start_new("kubelet", binaries.get("kubelet")?, arguments, directory)
}

fn kubelet_config(
    control_plane: &ControlPlane,
    containerd: &Containerd,
    serving: &KeyFiles,
    cgroup: &str,
) -> serde_json::Value {
    let below = |name: &str| -> PathBuf { control_plane.directory().join(name) };
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "x509": { "clientCAFile": control_plane.ca() },
            "webhook": { "enabled": true },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": serving.certificate,
        "tlsPrivateKeyFile": serving.key,
        "containerRuntimeEndpoint": format!("unix://{}", containerd.socket().display()),
        "clusterDNS": [network::NODE],
        "clusterDomain": dns::DOMAIN,
        "podLogsDir": below("pods"),
        "volumePluginDir": below("volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{cgroup}"),
        "failCgroupV1": false,
        "failSwapOn": false,
        // A machine that is a container or lacks CAP_SYS_RESOURCE lets no one lower an OOM score.
        "featureGates": { "KubeletInUserNamespace": true },
        "makeIPTablesUtilChains": false,
        // Images are imported once and could not be pulled again; the machine's disk is none of a test's business.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": { "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%" },
        "maxPods": 200,
        // Changed Secrets and ConfigMaps reach the files of running pods with the next sync; 60 s is the default.
        "syncFrequency": "5s",
    })
}

pub(super) fn kube_proxy(control_plane: &ControlPlane, binaries: &Binaries) -> Result<Program, ClusterError> {
    let subject = Subject { user: "system:kube-proxy", group: None };
    let kubeconfig = control_plane.authority().kubeconfig("kube-proxy", subject, control_plane.url())?;
    let arguments = vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={NODE}"),
        format!("--cluster-cidr={}", network::PODS),
        "--proxy-mode=nftables".to_owned(),
        // The machine's connection tracking stays as it is.
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0s".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0s".to_owned(),
    ];
    Program::start_new("kube-proxy", binaries.get("kube-proxy")?, arguments, control_plane.directory())
}
