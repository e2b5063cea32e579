//! Helm 3 and Helm 4, each without any setting of this machine's user.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mutt_cluster::Binaries;
use mutt_e2e::repository;
use tempfile::TempDir;

/// What charts are rendered for when no cluster is asked; the same for both, whose built-in versions differ.
const KUBERNETES: &str = "1.36.3";

/// One version of Helm.
pub(crate) struct Helm {
    pub(crate) name: &'static str,
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    /// `helm3` or `helm4`.
    pub(crate) fn new(name: &'static str) -> Self {
        let program = Binaries::cached().get(name).unwrap_or_else(|error| panic!("{error}"));
        Self { name, program, home: tempfile::tempdir().unwrap() }
    }

    /// Both, the older one first.
    pub(crate) fn both() -> [Self; 2] {
        [Self::new("helm3"), Self::new("helm4")]
    }

    /// A command of this Helm that talks to no cluster unless it is told of one.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("KUBECONFIG", "/dev/null").env_remove("HELM_NAMESPACE");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.home.path());
        }
        command
    }

    /// Runs a command to its end, whatever that is.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap_or_else(|error| panic!("{}: {error}", self.program.display()))
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn stdout(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(
            output.status.success(),
            "{} {}: {}",
            self.name,
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `helm install` would apply.
    pub(crate) fn template(&self, release: &str, chart: &str, namespace: &str, more: &[&str]) -> Output {
        let path = chart_path(chart);
        let mut arguments =
            vec!["template", release, text(&path), "--namespace", namespace, "--kube-version", KUBERNETES];
        arguments.extend_from_slice(more);
        self.output(&arguments)
    }
}

/// The folder of a chart.
pub(crate) fn chart_path(chart: &str) -> PathBuf {
    repository().join("charts").join(chart)
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of this repository is UTF-8")
}

/// Standard output of what must have succeeded.
pub(crate) fn rendered(output: Output, what: &str) -> String {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
