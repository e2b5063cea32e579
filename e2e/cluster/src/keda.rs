//! KEDA for the node, as its project installs it: the manifests and programs that `e2e/cluster/build-keda` has got from its
//! module. The manifests alone, with the definitions in them, are there after every `make setup`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    ClusterError,
    binaries::cache,
    process::{output, run},
};

/// Whose `require` names the version; the build script reads the same file.
const MODULES: &str = include_str!("../keda/go.mod");
const MODULE: &str = "github.com/kedacore/keda/v2 v";
/// Archives of the images, named after their programs.
const IMAGES: [&str; 3] = ["keda.tar", "keda-adapter.tar", "keda-admission-webhooks.tar"];
/// Long for a loaded machine; alone it takes a fifth of that.
const READY_MAX: Duration = Duration::from_mins(3);
/// What a test needs otherwise than the project's manifests say: no registry can be reached, and nobody waits 20 s for the first probe.
const CHANGES: [(&str, &str); 3] = [
    ("imagePullPolicy: Always", "imagePullPolicy: IfNotPresent"),
    ("initialDelaySeconds: 20", "initialDelaySeconds: 1"),
    ("periodSeconds: 10", "periodSeconds: 2"),
];

/// The folder of one version of KEDA.
#[derive(Debug, Clone)]
pub struct Keda {
    folder: PathBuf,
}

impl Keda {
    /// The folder under `$XDG_CACHE_HOME` (or `~/.cache`) that `e2e/cluster/build-keda` fills.
    pub fn cached() -> Self {
        let version = MODULES.lines().find_map(|line| line.trim().strip_prefix(MODULE)?.split(' ').next());
        Self { folder: cache().join(format!("keda-{}", version.unwrap_or_default())) }
    }

    /// The folder of its CustomResourceDefinitions, one YAML file each.
    ///
    /// # Errors
    /// [`ClusterError::NotBuilt`].
    pub fn definitions(&self) -> Result<PathBuf, ClusterError> {
        self.get("config/crd/bases")
    }

    /// Archives of the images that its manifests name.
    ///
    /// # Errors
    /// [`ClusterError::NoKeda`].
    pub(crate) fn images(&self) -> Result<Vec<PathBuf>, ClusterError> {
        let archive = |name: &&str| self.get(name).map_err(|_| ClusterError::NoKeda(self.folder.clone()));
        IMAGES.iter().map(archive).collect()
    }

    fn get(&self, name: &str) -> Result<PathBuf, ClusterError> {
        let path = self.folder.join(name);
        if path.exists() { Ok(path) } else { Err(ClusterError::NotBuilt(path)) }
    }

    /// Installs it and waits until it serves external metrics; for a node that has the images.
    pub(crate) fn install(&self, kubectl: &Path, kubeconfig: &Path, directory: &Path) -> Result<(), ClusterError> {
        let config = self.get("config/default")?;
        let manifests = output(kubectl, &["kustomize", &config.display().to_string()])?;
        let manifests = CHANGES.iter().fold(manifests, |text, (theirs, ours)| text.replace(theirs, ours));
        let file = directory.join("keda.yaml");
        fs::write(&file, manifests).map_err(ClusterError::io(format!("write {}", file.display())))?;
        let kubectl = |arguments: &[&str]| {
            let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
            run(kubectl, &[&[kubeconfig.as_str()], arguments].concat())
        };
        // One of the definitions is too large for the annotation of a client-side apply.
        kubectl(&["apply", "--server-side", "--filename", &file.display().to_string()])?;
        let limit = format!("--timeout={}s", READY_MAX.as_secs());
        kubectl(&["wait", "--for=condition=Available", &limit, "--namespace=keda", "deployments", "--all"])?;
        kubectl(&["wait", "--for=condition=Available", &limit, "apiservice/v1beta1.external.metrics.k8s.io"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_version_is_that_of_the_module() {
        let folder = Keda::cached().folder;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = name.strip_prefix("keda-").unwrap_or_default();
        assert_eq!(version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3, "{name}");
    }
}
