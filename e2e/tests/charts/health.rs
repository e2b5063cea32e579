//! The health checks for Argo CD, run by a Lua interpreter on their test data, as Argo CD's own tests do it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mutt_e2e::repository;
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
            let said = health(&folder.join("health.lua"), &read(&folder.join(input)));
            assert_eq!(
                (said.0.as_str(), said.1.as_str()),
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

/// Status and message that the script returns for an object.
fn health(script: &Path, object: &Value) -> (String, String) {
    let mut program = String::from("obj = ");
    literal(object, &mut program);
    program.push_str("\nlocal health = dofile(");
    string(script.to_str().unwrap(), &mut program);
    program.push_str(")\nio.write(health.status, '\\n', health.message)");
    let output = Command::new("lua")
        .arg("-e")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("no Lua interpreter `lua` ({error}): run .ci/setup test"));
    assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let (status, message) = said.split_once('\n').unwrap();
    (status.to_owned(), message.to_owned())
}

/// A JSON value as a Lua expression, as Argo CD hands objects over: null is nil, lists count from 1.
fn literal(value: &Value, lua: &mut String) {
    match value {
        Value::Null => lua.push_str("nil"),
        Value::Bool(_) | Value::Number(_) => write!(lua, "{value}").unwrap(),
        Value::String(text) => string(text, lua),
        Value::Array(items) => {
            lua.push('{');
            for item in items {
                literal(item, lua);
                lua.push(',');
            }
            lua.push('}');
        }
        Value::Object(members) => {
            lua.push('{');
            for (name, member) in members {
                lua.push('[');
                string(name, lua);
                lua.push_str("]=");
                literal(member, lua);
                lua.push(',');
            }
            lua.push('}');
        }
    }
}

/// Decimal escapes are the one form that every Lua reads.
fn string(text: &str, lua: &mut String) {
    lua.push('"');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b' ' {
            lua.push(char::from(byte));
        } else {
            write!(lua, "\\{byte:03}").unwrap();
        }
    }
    lua.push('"');
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
