//! The charts' READMEs: how to install each, and a table of its values made from the comments in `values.yaml` (`make golden`).

use std::fmt::Write as _;
use std::fs;

use mutt_e2e::repository;
use serde_json::Value;

use crate::cases::{CHARTS, documents};

/// One value with a comment `# -- …` before it.
struct Documented {
    path: String,
    text: String,
}

#[test]
fn golden_readmes_of_the_charts() {
    for (chart, release, namespace) in CHARTS {
        let folder = repository().join("charts").join(chart);
        let yaml = fs::read_to_string(folder.join("values.yaml")).unwrap();
        let values = documents(&yaml).remove(0);
        let about = documents(&fs::read_to_string(folder.join("Chart.yaml")).unwrap()).remove(0);
        let mut text = format!(
            "# {chart}\n\n{}.\n\n    helm install {release} charts/{chart} --namespace {namespace} --create-namespace{}\n\n",
            about["description"].as_str().unwrap(),
            // Without it, objects of a kind that is not served yet would be refused.
            if chart == "mutt-crds" { " --wait" } else { "" }
        );
        text.push_str(
            "Made from `values.yaml` by the tests (`make golden`); `values.schema.json` refuses any other name.\n\n",
        );
        text.push_str("| value | default | what |\n|---|---|---|\n");
        for documented in documented(&yaml) {
            let default = documented.path.split('.').fold(&values, |value, key| &value[key]);
            writeln!(text, "| `{}` | {} | {} |", documented.path, shown(default), documented.text).unwrap();
        }
        let path = folder.join("README.md");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap_or_default() == text, "{} is outdated (make golden)", path.display());
    }
}

#[test]
fn every_value_is_documented() {
    for (chart, ..) in CHARTS {
        let yaml = fs::read_to_string(repository().join("charts").join(chart).join("values.yaml")).unwrap();
        let paths: Vec<_> = documented(&yaml).into_iter().map(|documented| documented.path).collect();
        let covers = |leaf: &str| paths.iter().any(|path| leaf == path || leaf.starts_with(&format!("{path}.")));
        for leaf in leaves(&documents(&yaml)[0], "") {
            assert!(covers(&leaf) || leaf == "global", "{chart}: {leaf} has no comment `# -- …`");
        }
    }
}

/// Paths of everything in `values` that is no non-empty map.
fn leaves(values: &Value, path: &str) -> Vec<String> {
    match values.as_object() {
        Some(members) if !members.is_empty() => members
            .iter()
            .flat_map(|(name, value)| {
                leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") })
            })
            .collect(),
        _ => vec![path.to_owned()],
    }
}

/// A comment that begins with `# -- ` speaks of the key after it; further lines of it go on without `--`.
fn documented(yaml: &str) -> Vec<Documented> {
    let mut found = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in yaml.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(first) = content.strip_prefix("# -- ") {
            comment = Some(first.to_owned());
        } else if let (Some(comment), Some(next)) = (&mut comment, content.strip_prefix("# ")) {
            comment.push(' ');
            comment.push_str(next);
        } else if let Some((key, _)) = content.split_once(':').filter(|_| !content.starts_with(['#', '-', '{'])) {
            parents.retain(|(level, _)| *level < indent);
            parents.push((indent, key.to_owned()));
            if let Some(text) = comment.take() {
                let path = parents.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
                found.push(Documented { path, text: text.replace('|', "\\|") });
            }
        } else {
            comment = None;
        }
    }
    found
}

/// A default in a cell of the table; long ones are to be read in the file.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "`\"\"`".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => {
            let text = other.to_string();
            if text.len() > 60 { "see `values.yaml`".to_owned() } else { format!("`{text}`") }
        }
    }
}
