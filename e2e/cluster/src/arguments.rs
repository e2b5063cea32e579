//! The command lines of the control plane's programs.

use std::{net::Ipv4Addr, path::Path};

use crate::{
    ClusterError, ControlPlaneOptions,
    pki::{Authority, Subject},
};

/// Issuer of the service accounts' tokens, by convention the name of the API's Service.
const ISSUER: &str = "https://kubernetes.default.svc";
const FRONT_PROXY: &str = "front-proxy";

pub(crate) fn etcd(directory: &Path, port: u16, peer_port: u16) -> Vec<String> {
    let (url, peer_url) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
    vec![
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        format!("--initial-cluster=default={peer_url}"),
        // Nothing here outlives the machine.
        "--unsafe-no-fsync".to_owned(),
    ]
}

pub(crate) fn api_server(
    options: &ControlPlaneOptions,
    authority: &Authority,
    etcd_port: u16,
    port: u16,
) -> Result<Vec<String>, ClusterError> {
    let names = [
        options.address.to_string(),
        Ipv4Addr::LOCALHOST.to_string(),
        first_of(&options.services),
        "localhost".to_owned(),
        "kubernetes.default.svc".to_owned(),
    ];
    let serving = authority.issue("kube-apiserver", Subject { user: "kube-apiserver", group: None }, &names)?;
    let to_kubelet = Subject { user: "kube-apiserver-kubelet-client", group: Some("system:masters") };
    let to_kubelet = authority.issue("kubelet-client", to_kubelet, &[])?;
    let front_proxy = authority.issue(FRONT_PROXY, Subject { user: FRONT_PROXY, group: None }, &[])?;
    let (token_key, token_public_key) = authority.token_keys();
    let ca = authority.certificate_file();
    let ca = ca.display();
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--secure-port={port}"),
        format!("--bind-address={}", options.address),
        format!("--advertise-address={}", options.address),
        format!("--tls-cert-file={}", serving.certificate.display()),
        format!("--tls-private-key-file={}", serving.key.display()),
        format!("--client-ca-file={ca}"),
        format!("--kubelet-client-certificate={}", to_kubelet.certificate.display()),
        format!("--kubelet-client-key={}", to_kubelet.key.display()),
        format!("--kubelet-certificate-authority={ca}"),
        // Without a DNS that knows the node's name, `logs` and `exec` need its address.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--service-account-key-file={}", token_public_key.display()),
        format!("--service-account-signing-key-file={}", token_key.display()),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-cluster-ip-range={}", options.services),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--requestheader-client-ca-file={ca}"),
        format!("--requestheader-allowed-names={FRONT_PROXY}"),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--proxy-client-cert-file={}", front_proxy.certificate.display()),
        format!("--proxy-client-key-file={}", front_proxy.key.display()),
        "--enable-aggregator-routing=true".to_owned(),
    ];
    if options.address.is_loopback() {
        // Endpoints may not be loopback addresses, and no pod is there to use them.
        arguments.push("--endpoint-reconciler-type=none".to_owned());
    }
    if !options.admission_plugins.is_empty() {
        let plugins: Vec<&str> = options.admission_plugins.iter().map(String::as_str).collect();
        arguments.push(format!("--enable-admission-plugins={}", plugins.join(",")));
    }
    arguments.extend(feature_gates(options));
    arguments.extend(options.arguments.iter().cloned());
    Ok(arguments)
}

pub(crate) fn controller_manager(
    options: &ControlPlaneOptions,
    authority: &Authority,
    kubeconfig: &Path,
    port: u16,
) -> Vec<String> {
    let mut arguments = client(options, kubeconfig, port);
    arguments.extend([
        format!("--service-account-private-key-file={}", authority.token_keys().0.display()),
        format!("--root-ca-file={}", authority.certificate_file().display()),
        "--use-service-account-credentials=true".to_owned(),
        // Tests see an HPA move within seconds.
        "--horizontal-pod-autoscaler-sync-period=2s".to_owned(),
        "--horizontal-pod-autoscaler-downscale-stabilization=5s".to_owned(),
    ]);
    arguments
}

pub(crate) fn scheduler(options: &ControlPlaneOptions, _: &Authority, kubeconfig: &Path, port: u16) -> Vec<String> {
    client(options, kubeconfig, port)
}

/// What every client of the API server takes.
fn client(options: &ControlPlaneOptions, kubeconfig: &Path, port: u16) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    let mut arguments = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        // There is only one.
        "--leader-elect=false".to_owned(),
    ];
    arguments.extend(feature_gates(options));
    arguments
}

fn feature_gates(options: &ControlPlaneOptions) -> Option<String> {
    let gates: Vec<String> = options.feature_gates.iter().map(|(name, on)| format!("{name}={on}")).collect();
    (!gates.is_empty()).then(|| format!("--feature-gates={}", gates.join(",")))
}

/// The first usable address of a CIDR block: the API server takes it for the Service `kubernetes`.
fn first_of(block: &str) -> String {
    let network = block.split('/').next().unwrap_or_default();
    network
        .parse()
        .map_or_else(|_| network.to_owned(), |base: Ipv4Addr| Ipv4Addr::from_bits(base.to_bits() + 1).to_string())
}
