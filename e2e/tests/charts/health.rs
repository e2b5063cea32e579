//! The health checks for Argo CD, run by a Lua interpreter on their test data, as Argo CD's own tests do it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mutt_e2e::{argo_cd_health, repository};
use serde_json::Value;

use crate::cases::documents;

const KINDS: [&str; 2] = ["AlertRule", "MuttPipeline"];

fn folder(kind: &str) -> PathBuf {
    repository().join("manifests/argocd/resource_customizations/mutt.dev").join(kind)
}

fn read(path: &Path) -> Value {
    let stream = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    documents(&stream).remove(0)
}

#[test]
fn every_object_is_judged_as_its_test_says() {
    for kind in KINDS {
        let folder = folder(kind);
        let tests = read(&folder.join("health_test.yaml"));
        for test in tests["tests"].as_array().unwrap() {
            let input = test["inputPath"].as_str().unwrap();
            let expected = &test["healthStatus"];
            let (status, message) = argo_cd_health(kind, &read(&folder.join(input)));
            assert_eq!(
                (status.as_str(), message.as_str()),
                (expected["status"].as_str().unwrap(), expected["message"].as_str().unwrap()),
                "{kind} {input}"
            );
        }
    }
}

#[test]
fn every_test_object_is_used_by_a_test() {
    for kind in KINDS {
        let folder = folder(kind);
        let tests = fs::read_to_string(folder.join("health_test.yaml")).unwrap();
        for entry in fs::read_dir(folder.join("testdata")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(tests.contains(&format!("testdata/{name}\n")), "{kind}: {name} is in no test");
        }
    }
}

/// A reason that the operator calls otherwise one day would be judged wrongly without a word.
#[test]
fn the_reasons_that_the_scripts_look_for_are_the_operators() {
    let source = sources(&repository().join("operator/src"));
    for kind in KINDS {
        let script = fs::read_to_string(folder(kind).join("health.lua")).unwrap();
        let reasons: Vec<_> = script
            .split(".reason ")
            .skip(1)
            .map(|rest| rest.trim_start_matches(['=', '~', ' ']).split('"').nth(1).unwrap())
            .collect();
        assert!(!reasons.is_empty(), "{kind}");
        for reason in reasons {
            assert!(source.contains(&format!("\"{reason}\"")), "{kind}: no {reason} in operator/src");
        }
    }
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> String {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { sources(&path) } else { fs::read_to_string(&path).unwrap() })
        .collect()
}

/// `argocd-cm.yaml` is for people whose Argo CD does not bring these checks; it holds the same scripts.
#[test]
fn golden_config_map_of_argo_cd_holds_the_scripts() {
    let mut map = String::from(
        "# Health checks for Argo CD, merged into its ConfigMap by `kubectl patch` (README.md). Made from resource_customizations by\n\
         # the tests (`make golden`).\ndata:\n",
    );
    // Argo CD has no check for its own Applications; without one, waves between them do not wait.
    let application = "local health = obj.status ~= nil and obj.status.health or {}\n\
                       return { status = health.status or \"Progressing\", message = health.message or \"\" }\n";
    let mut scripts = vec![("argoproj.io_Application".to_owned(), application.to_owned())];
    for kind in KINDS {
        scripts.push((format!("mutt.dev_{kind}"), fs::read_to_string(folder(kind).join("health.lua")).unwrap()));
    }
    for (name, script) in scripts {
        writeln!(map, "  resource.customizations.health.{name}: |").unwrap();
        for line in script.lines() {
            writeln!(map, "{}{line}", if line.is_empty() { "" } else { "    " }).unwrap();
        }
    }
    let path = repository().join("manifests/argocd/argocd-cm.yaml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &map).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), map, "manifests/argocd/argocd-cm.yaml (make golden)");
    for (key, script) in read(&path)["data"].as_object().unwrap() {
        assert!(script.as_str().unwrap().contains("return"), "{key}");
    }
}
