//! What the Deployments set is what the workers read.

use std::collections::BTreeMap;

use mutt_secrets::SecretName;
use serde_json::Value;

use super::{build, case, objects, resolved};
use crate::pipeline::build::settings::WORKER_DEFAULTS;

/// Setting → default and who reads it, from the README's table, which a test of the workers keeps true.
fn documented() -> BTreeMap<String, (String, String)> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let rows = readme.lines().filter(|line| line.starts_with("| `"));
    let plain = |cell: &str| cell.trim().trim_matches('`').to_owned();
    rows.filter_map(|row| {
        let [_, name, default, roles, ..] = row.split('|').collect::<Vec<_>>()[..] else { return None };
        Some((plain(name), (plain(default), plain(roles))))
    })
    .collect()
}

fn env_of(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["containers"][0]["env"].as_array().unwrap().iter()
}

/// What `mutt status` reads in whichever pod it is called.
const OF_STATUS: [&str; 2] = ["PROMETHEUS_URL", "SLO_SELECTOR"];

#[test]
fn every_variable_is_a_setting_that_its_role_reads() {
    let settings = documented();
    let is_secret_file = |name: &str| {
        name.strip_suffix("_FILE")
            .is_some_and(|name| SecretName::ALL.iter().any(|secret| secret.keys().contains(&name)))
    };
    for name in ["minimal", "no-webui", "tls", "full"] {
        let mut pipeline = case(name);
        for role in ["ingestor", "alerter", "forwarder", "webUi"] {
            if let Some(role) = pipeline["spec"].get_mut(role).and_then(Value::as_object_mut) {
                role.remove("pod");
            }
        }
        for object in objects(&build(&resolved(&pipeline, true))) {
            let pod = match object["kind"].as_str().unwrap() {
                "Deployment" | "Job" => &object["spec"]["template"]["spec"],
                "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"]["spec"],
                _ => continue,
            };
            let role = pod["containers"][0]["name"].as_str().unwrap().replace("database", "tools");
            for variable in env_of(pod).map(|variable| variable["name"].as_str().unwrap()) {
                let known = settings.get(variable).is_some_and(|(_, roles)| {
                    let reads = |who: &str| roles.split(", ").any(|reader| reader == who);
                    roles == "all" || reads(&role) || (OF_STATUS.contains(&variable) && reads("tools"))
                });
                assert!(
                    known || is_secret_file(variable),
                    "{name}: {role} is given {variable}, which it does not read"
                );
            }
        }
    }
}

#[test]
fn what_is_left_out_is_the_workers_default() {
    let settings = documented();
    for (name, default) in WORKER_DEFAULTS {
        let (documented, _) = settings.get(*name).unwrap_or_else(|| panic!("{name} is no setting"));
        let same = match (documented.parse::<f64>(), default.parse::<f64>()) {
            (Ok(documented), Ok(default)) => documented == default,
            _ => documented == default,
        };
        assert!(same, "{name}: {default} is not the documented {documented}");
    }
}

#[test]
fn the_defaults_of_the_definition_are_the_workers() {
    let minimal = objects(&build(&resolved(&case("minimal"), true)));
    for object in minimal.iter().filter(|object| object["kind"] == "Deployment") {
        let set: Vec<&str> = env_of(&object["spec"]["template"]["spec"])
            .map(|variable| variable["name"].as_str().unwrap())
            .filter(|name| WORKER_DEFAULTS.iter().any(|(setting, _)| setting == name))
            .collect();
        assert!(set.is_empty(), "{} sets {set:?}, although the pipeline does not", object["metadata"]["name"]);
    }
}
