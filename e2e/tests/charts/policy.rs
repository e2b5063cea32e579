//! What holds for every render: no privilege without a reason, nothing random, dashboards as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use mutt_e2e::repository;
use serde_json::{Value, json};

use crate::cases;
use crate::helm::{Helm, rendered, text};

/// Every case as documents.
fn renders() -> Vec<(String, Vec<Value>)> {
    let helm = Helm::new("helm4");
    cases::all()
        .into_iter()
        .map(|case| {
            let more = case.values.as_deref().map(|path| vec!["--values", text(path)]).unwrap_or_default();
            let output = helm.template(case.release, case.chart, case.namespace, &more);
            let documents = cases::documents(&rendered(output, &case.name));
            (case.name, documents)
        })
        .collect()
}

fn rules(document: &Value) -> &[Value] {
    document["rules"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// But for the operator's own serving certificate, in its own namespace: it is made there, and changed by its name.
#[test]
fn roles_have_no_wildcard_and_touch_secrets_by_get_only() {
    for (case, documents) in renders() {
        for role in documents.iter().filter(|document| document["apiVersion"] == "rbac.authorization.k8s.io/v1") {
            for rule in rules(role) {
                assert!(!rule.to_string().contains('*'), "{case}: {rule}");
                if rule["resources"].as_array().is_some_and(|resources| resources.contains(&json!("secrets"))) {
                    let certificate = role["kind"] == "Role"
                        && role["metadata"]["namespace"] == "mutt-system"
                        && (rule["verbs"] == json!(["create"])
                            || rule["verbs"] == json!(["get", "update"])
                                && rule["resourceNames"].as_array().is_some_and(|names| names.len() == 1));
                    assert!(rule["verbs"] == json!(["get"]) || certificate, "{case}: {rule}");
                }
            }
        }
    }
}

#[test]
fn every_rule_of_a_role_is_explained() {
    let text = fs::read_to_string(repository().join("charts/mutt-operator/templates/_rules.tpl")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let mut explained = false;
    for (number, line) in lines.iter().enumerate() {
        explained = match line {
            line if line.starts_with("# ") => true,
            // A second rule may follow under the same reason, when it narrows the same resource by name.
            line if line.starts_with("- apiGroups") => {
                assert!(explained || lines[number + 2].contains("resourceNames"), "_rules.tpl:{}: {line}", number + 1);
                false
            }
            _ => false,
        };
    }
}

#[test]
fn an_operator_of_some_namespaces_gets_no_role_of_the_cluster() {
    let (_, documents) = renders().into_iter().find(|(case, _)| case == "mutt-operator-namespaces").unwrap();
    let kinds = |kind: &str| documents.iter().filter(|document| document["kind"] == kind).count();
    assert_eq!((kinds("ClusterRole"), kinds("ClusterRoleBinding")), (0, 0));
    // One for each of two namespaces, and one for the Lease.
    assert_eq!((kinds("Role"), kinds("RoleBinding")), (3, 3));
    let namespaces = documents.iter().flat_map(rules).filter(|rule| rule.to_string().contains(r#""namespaces""#));
    assert!(namespaces.into_iter().all(|rule| rule["verbs"] == json!(["get"])));
}

/// The "restricted" pod security standard, and what OpenShift needs beyond it: no fixed UID.
#[test]
fn pods_are_restricted_and_run_under_any_uid() {
    for (case, documents) in renders() {
        for document in &documents {
            let pod = match document["kind"].as_str() {
                Some("Deployment") => &document["spec"]["template"],
                Some("Pod") => document,
                _ => continue,
            };
            let spec = &pod["spec"];
            assert_eq!(pod["metadata"]["annotations"]["openshift.io/required-scc"], "restricted-v2", "{case}");
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{case}");
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{case}");
            for container in spec["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{case}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{case}");
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{case}");
                assert!(container["resources"]["limits"]["cpu"].is_null(), "{case}");
            }
            for fixed in ["runAsUser", "runAsGroup", "fsGroup", "hostNetwork", "hostPath", "hostPort"] {
                assert!(!spec.to_string().contains(fixed), "{case}: {fixed}");
            }
        }
    }
}

#[test]
fn templates_look_nothing_up_and_make_nothing_random() {
    for path in files_below(&repository().join("charts")) {
        if !path.components().any(|part| part.as_os_str() == "templates") {
            continue;
        }
        let template = fs::read_to_string(&path).unwrap();
        for word in [
            "lookup ",
            "rand",
            "genCA",
            "genSelfSigned",
            "genPrivateKey",
            "genSigned",
            "uuidv4",
            "now |",
            "htpasswd",
            "bcrypt",
        ] {
            assert!(
                !template.contains(&format!("{{{{ {word}")) && !template.contains(&format!("({word}")),
                "{}: {word}",
                path.display()
            );
        }
    }
}

/// As dashboards name them.
const RUNBOOKS: &str = "manifests/prometheus/runbooks.md";

#[test]
fn dashboards_arrive_as_they_are_with_the_address_of_the_runbooks() {
    let (_, documents) = renders().into_iter().find(|(case, _)| case == "mutt-operator-all").unwrap();
    let maps = documents.iter().filter(|document| document["kind"] == "ConfigMap");
    let rendered: BTreeMap<String, Value> = maps
        .flat_map(|map| map["data"].as_object().unwrap())
        .map(|(name, text)| (name.clone(), serde_json::from_str(text.as_str().unwrap()).unwrap()))
        .collect();
    let files = fs::read_dir(repository().join("charts/mutt-operator/files/dashboards")).unwrap();
    let files: BTreeMap<String, Value> = files
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        // As in `ci/all-values.yaml`.
        .map(|(name, text)| {
            (name, text.replace(RUNBOOKS, &format!("https://git.example.net/mutt/blob/main/{RUNBOOKS}")))
        })
        .map(|(name, text)| (format!("mutt-{name}"), serde_json::from_str(&text).unwrap()))
        .collect();
    assert_eq!(rendered, files);
    assert!(rendered["mutt-pipeline.json"].to_string().contains(": https://git.example.net/mutt/blob/main/manifests"));
}

#[test]
fn applications_render_and_their_waves_are_in_order() {
    let helm = Helm::new("helm4");
    let folder = tempfile::tempdir().unwrap();
    let mut waves = Vec::new();
    for file in ["mutt-operator.yaml", "mutt-pipeline.yaml"] {
        let stream = fs::read_to_string(repository().join("manifests/argocd").join(file)).unwrap();
        let application = cases::documents(&stream).remove(0);
        let spec = &application["spec"];
        let one = [spec["source"].clone()];
        let sources = spec["sources"].as_array().map_or(&one[..], Vec::as_slice);
        for source in sources {
            let chart = source["path"].as_str().unwrap().strip_prefix("charts/").unwrap();
            let values = folder.path().join(format!("{chart}.json"));
            fs::write(&values, source["helm"]["valuesObject"].to_string()).unwrap();
            let release = source["helm"]["releaseName"].as_str().unwrap();
            let namespace = spec["destination"]["namespace"].as_str().unwrap();
            let output = helm.template(release, chart, namespace, &["--values", text(&values)]);
            for document in cases::documents(&rendered(output, chart)) {
                let annotations = &document["metadata"]["annotations"];
                let kind = document["kind"].as_str().unwrap().to_owned();
                if annotations["helm.sh/hook"].is_null() {
                    waves.push((kind, annotations["argocd.argoproj.io/sync-wave"].as_str().unwrap_or("0").to_owned()));
                }
            }
        }
    }
    let wave = |kind: &str| {
        let found: BTreeSet<_> = waves.iter().filter(|(name, _)| name == kind).map(|(_, wave)| wave.as_str()).collect();
        found.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(wave("CustomResourceDefinition"), ["-10"]);
    assert_eq!(wave("Deployment"), ["-5"]);
    assert_eq!(wave("MuttPipeline"), ["0"]);
    assert_eq!(wave("AlertRule"), ["5"]);
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}
