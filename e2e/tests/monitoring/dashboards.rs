//! The dashboards: written from `dashboards/*.yaml` by `make golden`, and held against what makes a dashboard usable.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use mutt_cluster::Binaries;
use mutt_e2e::repository;
use serde_json::{Value, json};

use crate::{
    dashboard::{self, RUNBOOKS},
    rules::promtool,
    sources,
};

/// Where the chart finds them.
pub(crate) fn folder() -> PathBuf {
    repository().join("charts/mutt-operator/files/dashboards")
}

/// Names and contents of the files in a folder that end like this, without the end.
fn files(folder: PathBuf, end: &str) -> BTreeMap<String, String> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| Some((path.file_name()?.to_str()?.strip_suffix(end)?.to_owned(), path));
    paths.filter_map(named).map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

/// Every dashboard as Grafana gets it.
fn all() -> BTreeMap<String, Value> {
    files(folder(), ".json").into_iter().map(|(name, text)| (name, serde_json::from_str(&text).unwrap())).collect()
}

/// The panels of a dashboard that show something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

/// What a dashboard asks Prometheus, with values in place of its variables.
pub(crate) fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for (name, dashboard) in all() {
        for panel in panels(&dashboard) {
            let title = format!("{name}: {}", panel["title"].as_str().unwrap());
            for target in panel["targets"].as_array().unwrap() {
                let mut expression = target["expr"].as_str().unwrap().to_owned();
                for (variable, value) in
                    [("$__rate_interval", "5m"), ("$namespace", "netops"), ("$pipeline", "core"), ("$service", "mutt")]
                {
                    expression = expression.replace(variable, value);
                }
                queries.push((title.clone(), expression));
            }
        }
    }
    queries
}

#[test]
fn golden_dashboards() {
    let written = files(repository().join("e2e/tests/monitoring/dashboards"), ".yaml");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (name, text) in &written {
        let made = dashboard::for_grafana(name, &serde_saphyr::from_str(text).unwrap());
        let made = format!("{}\n", serde_json::to_string_pretty(&made).unwrap());
        let path = folder().join(format!("{name}.json"));
        if update {
            fs::write(&path, &made).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap_or_default() == made, "{} is outdated (make golden)", path.display());
    }
    assert!(all().keys().eq(written.keys()), "a dashboard without its source in e2e/tests/monitoring/dashboards");
}

#[test]
fn standalone_grafana_gets_the_same_dashboards() {
    let links = repository().join("manifests/grafana/dashboards");
    for name in all().into_keys() {
        let link = links.join(format!("{name}.json"));
        assert_eq!(fs::canonicalize(&link).unwrap(), fs::canonicalize(folder().join(format!("{name}.json"))).unwrap());
    }
    assert_eq!(fs::read_dir(links).unwrap().count(), all().len());
}

#[test]
fn dashboards_are_accepted_by_grafanas_own_types() {
    let module = include_str!("../../cluster/dashboards/go.mod");
    let (_, version) = module.split_once("grafana-foundation-sdk/go v").unwrap();
    let check = format!("check-dashboards-{}", version.trim());
    let check = Binaries::cached().get(&check).unwrap_or_else(|error| panic!("{error}"));
    for name in all().into_keys() {
        let output = Command::new(&check).arg(folder().join(format!("{name}.json"))).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // What is misspelt is seen.
    let mut wrong = all()["pipeline"].clone();
    wrong["panels"][1]["options"]["colourMode"] = json!("value");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), wrong.to_string()).unwrap();
    let output = Command::new(&check).arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("colourMode"), "{said}");
}

#[test]
fn every_panel_says_what_it_shows_and_has_its_place() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in all() {
        assert!(uids.insert(dashboard["uid"].to_string()), "{name}: uid used twice");
        let mut taken = BTreeSet::new();
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            assert!(titles.insert(title), "{name}: two panels {title}");
            let (told, runbook) = match panel["description"].as_str().unwrap().split_once("\n\n") {
                Some((told, runbook)) => (told, Some(runbook)),
                None => (panel["description"].as_str().unwrap(), None),
            };
            assert!(told.ends_with('.') && told.len() > 10, "{name}: {title} does not say what it shows: {told:?}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title} has no unit");
            assert_eq!(panel["datasource"], json!({"type": "prometheus", "uid": "${datasource}"}));
            let place = |member: &str| panel["gridPos"][member].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{name}: {title} is wider than the page");
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{name}: {title} lies on another panel");
                }
            }
            if let Some(runbook) = runbook {
                let (alert, link) = runbook.split_once(": ").unwrap();
                assert!(sources::alerts().contains(alert), "{name}: {title} leads to {alert}, which is no alert");
                assert_eq!(link, format!("{RUNBOOKS}#{}", alert.to_lowercase()));
            }
        }
    }
}

#[test]
fn every_query_is_promql_that_respects_counters() {
    let folder = tempfile::tempdir().unwrap();
    let rules: Vec<_> = queries()
        .iter()
        .map(|(_, expr)| json!({"record": "query:of:panel", "expr": expr, "labels": {"expr": expr}}))
        .collect();
    assert!(rules.len() > 80, "{}", rules.len());
    let file = json!({"groups": [{"name": "dashboards", "rules": rules}]});
    fs::write(folder.path().join("queries"), file.to_string()).unwrap();
    // Equal queries of two dashboards are no fault.
    promtool(folder.path(), &["check", "rules", "--lint=none", "queries"]).unwrap_or_else(|said| panic!("{said}"));
    for (panel, query) in queries() {
        for (place, _) in query.match_indices("_total{").chain(query.match_indices("_bucket{")) {
            let before = query[..place].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            assert!(before.ends_with("rate(") || before.ends_with("increase("), "{panel}: {query}");
        }
        if query.contains("histogram_quantile") {
            assert!(query.contains("by (le"), "{panel}: {query}");
        }
    }
}
