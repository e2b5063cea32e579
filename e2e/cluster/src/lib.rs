//! A real one-node Kubernetes on this machine, for tests. [`ControlPlane`] is etcd and the API server (and, if wanted,
//! controller manager and scheduler): enough for whatever only talks to the API. `mutt-cluster run` adds containerd,
//! kubelet and kube-proxy, so that pods run. No container engine and no registry is needed; `e2e/cluster/build` has
//! compiled the programs.

mod arguments;
mod binaries;
mod cgroup;
mod control_plane;
mod error;
mod keda;
mod node;
mod pki;
mod process;
mod run;

pub use binaries::Binaries;
pub use control_plane::{ControlPlane, ControlPlaneOptions};
pub use error::ClusterError;
pub use keda::Keda;
pub use run::{RunOptions, init, inside, run};
