//! Everything that is built, as files: `tests/golden/<case>/children.yaml`. `UPDATE_GOLDEN=1` writes them again.

use std::fmt::Write;

use super::{FOLDER, build, case, objects, resolved};

/// Folder, whether the schema's Job has completed.
const CASES: [(&str, bool); 8] = [
    ("minimal", true),
    ("no-webui", true),
    ("migration-pending", false),
    ("full", true),
    ("tls", true),
    ("autoscaled", true),
    ("keda", true),
    ("openshift", true),
];

fn children(name: &str, migrated: bool) -> String {
    let children = build(&resolved(&case(name), migrated));
    let mut text = String::from("# Written by `make golden` out of pipeline.yaml; do not edit.\n");
    if !children.held_back.is_empty() {
        let _ = writeln!(text, "# Held back: {}", children.held_back.join(", "));
    }
    for object in objects(&children) {
        let _ = write!(text, "---\n{}", serde_saphyr::to_string(&object).expect("YAML"));
    }
    text
}

#[test]
fn golden_children_are_committed() {
    let mut stale = Vec::new();
    for (name, migrated) in CASES {
        let path = format!("{FOLDER}/{name}/children.yaml");
        let built = children(name, migrated);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, built).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != built {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "what is built differs from {stale:?}: run `make golden` and look at the difference");
}

#[test]
fn every_case_is_looked_at() {
    let mut folders: Vec<String> =
        std::fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut cases: Vec<String> = CASES.iter().map(|(name, _)| (*name).to_owned()).collect();
    folders.sort();
    cases.sort();
    assert_eq!(folders, cases);
}
