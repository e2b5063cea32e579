//! kubectl against a control plane of a test.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mutt_cluster::Binaries;
use serde_json::{Value, json};

/// kubectl as one user.
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(kubeconfig: &Path) -> Self {
        let program = Binaries::cached().kubectl().unwrap_or_else(|error| panic!("{error}"));
        Self { program, kubeconfig: kubeconfig.to_path_buf() }
    }

    /// Runs a command to its end, with `input` as its standard input.
    pub(crate) fn output(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {failed}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// An object, or `None` where there is none.
    pub(crate) fn get(&self, namespace: &str, object: &str) -> Option<Value> {
        let arguments = ["get", object, "--namespace", namespace, "--ignore-not-found", "--output", "json"];
        let text = self.run(&arguments, "");
        (!text.trim().is_empty()).then(|| serde_json::from_str(&text).unwrap())
    }

    /// Whether this user may do each of these, asked all at once.
    pub(crate) fn may(&self, asked: &[Access<'_>]) -> Vec<bool> {
        let reviews: Vec<_> = asked
            .iter()
            .map(|access| {
                let spec = json!({"resourceAttributes": access.attributes()});
                json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec})
            })
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": reviews}).to_string();
        let answer = self.run(&["create", "--validate=false", "--output", "json", "--filename", "-"], &list);
        let reviews = serde_json::Deserializer::from_str(&answer).into_iter::<Value>();
        reviews.map(|review| review.unwrap()["status"]["allowed"].as_bool().unwrap()).collect()
    }
}

/// Something that may be allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'a> {
    pub(crate) verb: &'a str,
    /// As `deployments.apps`, `secrets` or `routes.route.openshift.io/custom-host`.
    pub(crate) resource: &'a str,
    /// Empty = every object.
    pub(crate) name: &'a str,
    /// `None` = in all namespaces.
    pub(crate) namespace: Option<&'a str>,
}

impl Access<'_> {
    fn attributes(&self) -> Value {
        let (kind, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let (resource, group) = kind.split_once('.').unwrap_or((kind, ""));
        json!({
            "verb": self.verb, "group": group, "resource": resource, "subresource": subresource, "name": self.name,
            "namespace": self.namespace.unwrap_or_default(),
        })
    }
}
