//! etcd and the API server, and if wanted the controller manager and the scheduler.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use mutt_servers::{ServerDirectory, free_port};
use tokio::sync::OnceCell;

use crate::{
    Binaries, ClusterError, arguments,
    binaries::installed,
    pki::{Authority, Subject},
    process::Program,
};

/// Long for a loaded machine; a server that cannot start ends at once and is seen as such.
const READY_MAX: Duration = Duration::from_mins(3);
/// Services of a control plane without a node are reachable by no one.
const SERVICES_DEFAULT: &str = "10.96.0.0/16";
const ADMIN: Subject<'static> = Subject { user: "mutt-admin", group: Some("system:masters") };

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();

/// How to start a [`ControlPlane`].
#[derive(Debug, Clone)]
pub struct ControlPlaneOptions {
    controller_manager: bool,
    scheduler: bool,
    pub(crate) admission_plugins: BTreeSet<String>,
    pub(crate) feature_gates: BTreeMap<String, bool>,
    pub(crate) arguments: Vec<String>,
    pub(crate) address: Ipv4Addr,
    pub(crate) services: String,
    directory: Option<PathBuf>,
}

impl Default for ControlPlaneOptions {
    fn default() -> Self {
        Self {
            controller_manager: false,
            scheduler: false,
            // As on OpenShift: who sets an owner reference that blocks deletion must be allowed to set finalizers.
            admission_plugins: BTreeSet::from(["OwnerReferencesPermissionEnforcement".to_owned()]),
            feature_gates: BTreeMap::new(),
            arguments: Vec::new(),
            address: Ipv4Addr::LOCALHOST,
            services: SERVICES_DEFAULT.to_owned(),
            directory: None,
        }
    }
}

impl ControlPlaneOptions {
    /// etcd and the API server with RBAC, OwnerReferencesPermissionEnforcement and API aggregation.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also runs the controller manager: garbage collection, service accounts, Deployments, Jobs, HPAs (every 2 s).
    #[must_use]
    pub fn controller_manager(mut self) -> Self {
        self.controller_manager = true;
        self
    }

    /// Also runs the scheduler.
    #[must_use]
    pub fn scheduler(mut self) -> Self {
        self.scheduler = true;
        self
    }

    /// Enables an admission plugin beside those that are on by default.
    #[must_use]
    pub fn admission_plugin(mut self, name: impl Into<String>) -> Self {
        self.admission_plugins.insert(name.into());
        self
    }

    /// Sets a feature gate on every program, as `("HPAScaleToZero", true)`.
    #[must_use]
    pub fn feature_gate(mut self, name: impl Into<String>, on: bool) -> Self {
        self.feature_gates.insert(name.into(), on);
        self
    }

    /// Adds an argument to the API server's, as `--request-timeout=5s`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Keeps its files in a directory that someone else removes.
    #[must_use]
    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_path_buf());
        self
    }

    /// Serves on an address that pods can reach, with Services out of `services` (CIDR).
    #[must_use]
    pub(crate) fn serve_node(mut self, address: Ipv4Addr, services: impl Into<String>) -> Self {
        self.address = address;
        self.services = services.into();
        self
    }

    /// Starts it and waits until the API answers.
    ///
    /// # Errors
    /// When a program is missing or does not become ready.
    pub async fn start(self) -> Result<ControlPlane, ClusterError> {
        ControlPlane::start_with(self).await
    }
}

/// A running control plane. Its programs end when it is dropped, or with this process.
#[derive(Debug)]
pub struct ControlPlane {
    options: ControlPlaneOptions,
    authority: Authority,
    kubeconfig: PathBuf,
    url: String,
    client: reqwest::Client,
    // Dropped in this order: who uses the API first, then the API server, then its store, then the files.
    clients: Vec<Program>,
    api_server: Program,
    etcd: Program,
    directory: PathBuf,
    _owned_directory: Option<ServerDirectory>,
}

impl ControlPlane {
    /// Starts one with the defaults of [`ControlPlaneOptions`].
    ///
    /// # Errors
    /// As [`ControlPlaneOptions::start`].
    pub async fn start() -> Result<Self, ClusterError> {
        ControlPlaneOptions::new().start().await
    }

    /// The one that all tests of a process share; each takes namespaces of its own. It ends with the process. Tests
    /// that stop the API server, or need other options, start one of their own.
    ///
    /// # Errors
    /// As [`ControlPlaneOptions::start`].
    pub async fn shared() -> Result<&'static Self, ClusterError> {
        let start = async || {
            // Statics are not dropped: the directory of the process before this one may still be there.
            mutt_servers::sweep_abandoned();
            Self::start().await
        };
        SHARED.get_or_try_init(start).await
    }

    /// Path of a kubeconfig of a cluster administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Writes a kubeconfig of another user, who may do what RBAC grants to the user or the group.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn kubeconfig_of(&self, user: &str, group: Option<&str>) -> Result<PathBuf, ClusterError> {
        let file: String =
            user.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
        self.authority.kubeconfig(&format!("user-{file}"), Subject { user, group }, &self.url)
    }

    /// `https://<address>:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// PEM file of the CA that signed the API server's certificate.
    pub fn ca(&self) -> PathBuf {
        self.authority.certificate_file()
    }

    /// An HTTP client that trusts the CA and is a cluster administrator.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// Where the programs keep their files; `logs` is below it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Kills the API server; etcd keeps the objects.
    ///
    /// # Errors
    /// When the operating system cannot say how it ended.
    pub fn stop_api_server(&mut self) -> Result<(), ClusterError> {
        self.api_server.kill()
    }

    /// Starts the API server again, on the same port, and waits until it answers.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_api_server(&mut self) -> Result<(), ClusterError> {
        self.api_server.start()?;
        self.ready().await
    }

    async fn start_with(options: ControlPlaneOptions) -> Result<Self, ClusterError> {
        let binaries = Binaries::cached();
        let (directory, owned_directory) = if let Some(directory) = &options.directory {
            (directory.clone(), None)
        } else {
            let owned = ServerDirectory::create()?;
            (owned.path().to_path_buf(), Some(owned))
        };
        let pki = directory.join("pki");
        fs::create_dir(&pki).map_err(ClusterError::io("make a directory for keys"))?;
        let authority = Authority::create(pki)?;
        let (etcd_port, etcd_peer_port, port) = (port()?, port()?, port()?);
        let url = format!("https://{}:{port}", options.address);
        let kubeconfig = authority.kubeconfig("admin", ADMIN, &url)?;
        let arguments = arguments::etcd(&directory, etcd_port, etcd_peer_port);
        let etcd = Program::start_new("etcd", installed("etcd")?, arguments, &directory)?;
        let arguments = arguments::api_server(&options, &authority, etcd_port, port)?;
        let path = binaries.get("kube-apiserver")?;
        let api_server = Program::start_new("kube-apiserver", path, arguments, &directory)?;
        let client = authority.client()?;
        let clients = Vec::new();
        let mut this = Self {
            options,
            authority,
            kubeconfig,
            url,
            client,
            clients,
            api_server,
            etcd,
            directory,
            _owned_directory: owned_directory,
        };
        this.ready().await?;
        if this.options.controller_manager {
            this.start_client("kube-controller-manager", &binaries, arguments::controller_manager)?;
        }
        if this.options.scheduler {
            this.start_client("kube-scheduler", &binaries, arguments::scheduler)?;
        }
        Ok(this)
    }

    /// The API server is ready when it says so and has made the first namespaces.
    async fn ready(&mut self) -> Result<(), ClusterError> {
        if let Some(error) = self.etcd.ended() {
            return Err(error);
        }
        for path in ["/readyz", "/api/v1/namespaces/default"] {
            let request = self.client.get(format!("{}{path}", self.url));
            let answers = async || match request.try_clone() {
                Some(request) => request.send().await.is_ok_and(|answer| answer.status().is_success()),
                None => false,
            };
            self.api_server.ready(READY_MAX, answers).await?;
        }
        Ok(())
    }

    /// Starts a program that works for the cluster by way of the API: its user is `system:<name>`.
    fn start_client(
        &mut self,
        name: &'static str,
        binaries: &Binaries,
        arguments: fn(&ControlPlaneOptions, &Authority, &Path, u16) -> Vec<String>,
    ) -> Result<(), ClusterError> {
        let user = format!("system:{name}");
        let kubeconfig = self.authority.kubeconfig(name, Subject { user: &user, group: None }, &self.url)?;
        let arguments = arguments(&self.options, &self.authority, &kubeconfig, port()?);
        self.clients.push(Program::start_new(name, binaries.get(name)?, arguments, &self.directory)?);
        Ok(())
    }
}

fn port() -> Result<u16, ClusterError> {
    free_port().map_err(ClusterError::io("find a free port"))
}
