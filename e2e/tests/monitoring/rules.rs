//! The rules before `promtool`, Prometheus' own judge, and the unit tests in `rules/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use mutt_e2e::repository;
use serde_json::Value;

use crate::sources;

/// Runs promtool in a folder; what it says where it fails.
pub(crate) fn promtool(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let promtool = mutt_servers::find_program("promtool", &[]).expect("promtool of Prometheus (.ci/setup test)");
    let output = Command::new(promtool).args(arguments).current_dir(folder).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// `rules/*.yaml`.
fn unit_tests() -> Vec<PathBuf> {
    let folder = repository().join("e2e/tests/monitoring/rules");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The file of rules that a file of tests names.
fn rule_file(tests: &Value) -> &str {
    tests["rule_files"][0].as_str().unwrap()
}

#[test]
fn promtool_accepts_all_rules() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("standalone", sources::standalone()),
        ("pipeline", sources::of_a_pipeline()),
        ("operator", sources::of_the_operator()),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
        promtool(folder.path(), &["check", "rules", name]).unwrap_or_else(|said| panic!("{name}: {said}"));
    }
}

#[test]
fn alerts_fire_when_they_should_and_only_then_on_standalone_servers() {
    run_unit_tests("mutt.rules.yaml", sources::standalone());
}

#[test]
fn alerts_fire_when_they_should_and_only_then_as_the_operator_makes_them() {
    run_unit_tests("mutt.rules.yaml", sources::of_a_pipeline());
}

#[test]
fn alerts_fire_when_they_should_and_only_then_of_the_operator() {
    run_unit_tests("operator.rules.yaml", sources::of_the_operator());
}

/// The tests of one file of rules, with these rules as the file.
fn run_unit_tests(name: &str, rules: String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), rules).unwrap();
    let mut arguments = vec!["test".to_owned(), "rules".to_owned()];
    for file in unit_tests() {
        let text = fs::read_to_string(&file).unwrap();
        if rule_file(&serde_saphyr::from_str(&text).unwrap()) == name {
            let copy = file.file_name().unwrap().to_str().unwrap();
            fs::write(folder.path().join(copy), text).unwrap();
            arguments.push(copy.to_owned());
        }
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    promtool(folder.path(), &arguments).unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn every_alert_is_tested_firing_and_silent() {
    let mut tested: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    for file in unit_tests() {
        let tests: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert!(["mutt.rules.yaml", "operator.rules.yaml"].contains(&rule_file(&tests)), "{}", file.display());
        for test in tests["tests"].as_array().unwrap() {
            for query in test["promql_expr_test"].as_array().unwrap() {
                let samples = query["exp_samples"].as_array().unwrap();
                let named = names_in(query["expr"].as_str().unwrap());
                let seen = samples.iter().flat_map(|sample| names_in(sample["labels"].as_str().unwrap()));
                tested.entry(!samples.is_empty()).or_default().extend(named.into_iter().chain(seen));
            }
        }
    }
    for alert in sources::alerts() {
        assert!(tested[&true].contains(&alert), "no test has {alert} firing");
        // A healthy pipeline and a healthy operator have no alert at all, whatever its name; it is what comes near that counts.
        assert!(tested[&false].contains(&alert) || alert.starts_with("MuttOperator"), "no test has {alert} silent");
    }
}

/// Names of alerts in a query or in labels.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| word.starts_with("Mutt")).map(str::to_owned).collect()
}
