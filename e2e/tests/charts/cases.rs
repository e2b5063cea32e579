//! Which values the charts are rendered with: their defaults, the files of `charts/*/ci`, and those of `manifests`.

use std::fs;
use std::path::PathBuf;

use mutt_e2e::repository;
use serde_json::Value;

/// The charts, in the order in which they are installed, each with release and namespace.
pub(crate) const CHARTS: [(&str, &str, &str); 3] = [
    ("mutt-crds", "mutt-crds", "mutt-system"),
    ("mutt-operator", "mutt-operator", "mutt-system"),
    ("mutt-pipeline", "core", "netops"),
];

/// One set of values for one chart.
pub(crate) struct Case {
    pub(crate) chart: &'static str,
    pub(crate) release: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) name: String,
    /// None = the defaults.
    pub(crate) values: Option<PathBuf>,
}

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (chart, release, namespace) in CHARTS {
        let mut files = values_files(chart);
        files.extend(elsewhere(chart));
        let case = |name: String, values| Case { chart, release, namespace, name: format!("{chart}-{name}"), values };
        cases.push(case("default".to_owned(), None));
        cases.extend(files.into_iter().map(|(name, path)| case(name, Some(path))));
    }
    cases
}

/// `charts/<chart>/ci/<name>-values.yaml`.
fn values_files(chart: &str) -> Vec<(String, PathBuf)> {
    let folder = repository().join("charts").join(chart).join("ci");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let name = name.strip_suffix("-values.yaml").unwrap_or_else(|| panic!("{name} is no <name>-values.yaml"));
            (name.to_owned(), path.clone())
        })
        .collect();
    files.sort();
    files
}

/// Values that the manifests recommend.
fn elsewhere(chart: &str) -> Vec<(String, PathBuf)> {
    let manifests = repository().join("manifests/openshift");
    match chart {
        "mutt-operator" => vec![("openshift".to_owned(), manifests.join("operator-values.yaml"))],
        "mutt-pipeline" => vec![
            ("openshift".to_owned(), manifests.join("pipeline-values.yaml")),
            ("example".to_owned(), repository().join("charts/mutt-pipeline/examples/core-values.yaml")),
        ],
        _ => Vec::new(),
    }
}

/// The documents of a YAML stream, empty ones left out.
pub(crate) fn documents(stream: &str) -> Vec<Value> {
    format!("\n{stream}")
        .split("\n---\n")
        .filter(|document| document.lines().any(|line| !line.is_empty() && !line.starts_with('#')))
        .map(|document| serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("no YAML: {error}\n{document}")))
        .collect()
}
