//! Every case renders to the committed text, with both versions of Helm. `make golden` writes the texts again.

use std::fs;

use mutt_e2e::repository;

use crate::cases;
use crate::helm::{Helm, chart_path, rendered, text};

#[test]
fn golden_charts_render_the_same_with_helm_3_and_helm_4() {
    let folder = repository().join("e2e/tests/charts/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut outdated = Vec::new();
    for case in cases::all() {
        let more = case.values.as_deref().map(|path| vec!["--values", text(path)]).unwrap_or_default();
        let [three, four] = Helm::both().map(|helm| {
            let output = helm.template(case.release, case.chart, case.namespace, &more);
            without_blank_ends(&rendered(output, &format!("{} {}", helm.name, case.name)))
        });
        assert!(
            three == four,
            "{}: Helm 3 and Helm 4 render differently: {}",
            case.name,
            first_difference(&three, &four)
        );
        // The definitions have golden files of their own: crds/generated. So have the dashboards.
        let three = if case.chart == "mutt-crds" { without_spec(&three) } else { without_dashboards(&three) };
        let path = folder.join(format!("{}.yaml", case.name));
        if update {
            fs::write(&path, &three).unwrap();
            continue;
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        if committed != three {
            outdated.push(format!("{}: {}", case.name, first_difference(&committed, &three)));
        }
    }
    assert!(outdated.is_empty(), "e2e/tests/charts/golden differ from now (make golden):\n{}", outdated.join("\n"));
}

/// The first line in which two texts differ.
fn first_difference(left: &str, right: &str) -> String {
    let mut lines = (left.lines(), right.lines());
    for number in 1.. {
        match (lines.0.next(), lines.1.next()) {
            (None, None) => break,
            (left, right) if left != right => return format!("line {number}: {left:?} / {right:?}"),
            _ => {}
        }
    }
    "only in line ends".to_owned()
}

/// Helm 4 writes an empty line between some documents, Helm 3 does not.
fn without_blank_ends(stream: &str) -> String {
    format!("{}\n", stream.replace("\n\n---\n", "\n---\n").trim_end())
}

/// Of each dashboard no more than its name.
fn without_dashboards(stream: &str) -> String {
    let mut inside = false;
    let kept = stream.lines().filter(|line| {
        inside &= line.starts_with("    ");
        let keeps = !inside;
        inside |= line.ends_with(".json: |");
        keeps
    });
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// Each document of a CustomResourceDefinition up to its `spec`.
fn without_spec(stream: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    let mut definition = false;
    for line in stream.lines() {
        if line == "---" {
            (inside, definition) = (false, false);
        }
        definition |= line == "kind: CustomResourceDefinition";
        if definition && line == "spec:" {
            kept.push_str("spec: # see crds/generated\n");
            inside = true;
        }
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn no_golden_file_is_left_over() {
    let names: Vec<_> = cases::all().into_iter().map(|case| format!("{}.yaml", case.name)).collect();
    for entry in fs::read_dir(repository().join("e2e/tests/charts/golden")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "e2e/tests/charts/golden/{name} belongs to no case");
    }
}

#[test]
fn helm_lints_every_case_without_a_warning() {
    for helm in Helm::both() {
        for case in cases::all() {
            let chart = chart_path(case.chart);
            let mut arguments = vec!["lint", "--strict", text(&chart), "--namespace", case.namespace];
            arguments.extend(case.values.as_deref().into_iter().flat_map(|path| ["--values", text(path)]));
            helm.stdout(&arguments);
        }
    }
}

#[test]
fn definitions_of_the_chart_are_those_of_crds_generated() {
    for helm in Helm::both() {
        let stream = rendered(helm.template("mutt-crds", "mutt-crds", "mutt-system", &[]), helm.name);
        let mut found = 0;
        for definition in cases::documents(&stream) {
            if definition["kind"] != "CustomResourceDefinition" {
                continue;
            }
            let name = definition["metadata"]["name"].as_str().unwrap();
            let plural = name.strip_suffix(".mutt.dev").unwrap();
            let path = repository().join(format!("crds/generated/{plural}.yaml"));
            let generated = &cases::documents(&fs::read_to_string(path).unwrap())[0];
            assert_eq!(definition["spec"], generated["spec"], "{name}, {}", helm.name);
            found += 1;
        }
        assert_eq!(found, 2, "{}", helm.name);
    }
}
