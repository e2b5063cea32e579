//! Addresses of the node. It has a network namespace of its own, so none of them can collide with the machine's.

use std::{fs, net::Ipv4Addr};

use crate::{ClusterError, binaries::installed, process::run};

/// The node's address; pods reach servers of the tests on it.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 199, 0, 1);
/// Addresses of Services.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// Addresses of pods.
pub(crate) const PODS: &str = "10.244.0.0/24";
/// A bridge without ports carries the node's address: dummy interfaces are not in every kernel.
const INTERFACE: &str = "mutt0";

pub(crate) fn set_up() -> Result<(), ClusterError> {
    let ip = installed("ip")?;
    let address = format!("{NODE}/24");
    for arguments in [
        &["link", "set", "lo", "up"] as &[&str],
        &["link", "add", INTERFACE, "type", "bridge"],
        &["address", "add", &address, "dev", INTERFACE],
        &["link", "set", INTERFACE, "up"],
        // kube-proxy turns a Service's address into a pod's after the first look at the routes, which must find one.
        &["route", "add", SERVICES, "dev", INTERFACE],
    ] {
        run(&ip, arguments)?;
    }
    let forwarding = "/proc/sys/net/ipv4/ip_forward";
    fs::write(forwarding, "1").map_err(ClusterError::io(format!("write {forwarding}")))
}
