//! What alerts and dashboards ask for is there: a pipeline runs, a real Prometheus scrapes it and evaluates the rules.

use std::{collections::BTreeSet, fs, path::Path};

use mutt_e2e::{Pipeline, Role, RoleProcess, client, event};
use mutt_servers::TlsFiles;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::{
    dashboards,
    prometheus::{self, until_none_is_missing},
    sources,
};

/// A certificate for this machine that signs itself.
fn certificate(directory: &Path) -> TlsFiles {
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let write = |name: &str, pem: String| {
        let path = directory.join(name);
        fs::write(&path, pem).unwrap();
        path
    };
    let certificate = write("server.crt", certificate.pem());
    TlsFiles { ca: certificate.clone(), certificate, key: write("server.key", key.serialize_pem()) }
}

/// All four roles behind TLS, with a rule in shadow mode: what is only exported then is exported.
async fn roles(pipeline: &mut Pipeline, tls: &TlsFiles) -> Vec<RoleProcess> {
    pipeline.set("SERVER_TLS_CERT_PATH", tls.certificate.to_str().unwrap());
    pipeline.set("SERVER_TLS_KEY_PATH", tls.key.to_str().unwrap());
    pipeline
        .sql(
            "INSERT INTO alert_rules (match_string, priority, prod_handling, dev_handling, team_assignment, name, spec) \
             VALUES ('ALERT', 1, 'Ignore', 'Ignore', 'NETO', 'shadow', '{\"mode\": \"Shadow\"}')",
        )
        .await;
    let mut roles = Vec::new();
    for role in [Role::Ingestor, Role::Alerter, Role::Forwarder, Role::WebUi] {
        roles.push(pipeline.run(role).await);
    }
    roles
}

/// One event of each fate, and a look at the Web UI.
async fn traffic(pipeline: &Pipeline, roles: &[RoleProcess]) {
    let sender = pipeline.sender(&roles[0]);
    let batch =
        json!([event("core-1", "ALERT"), event("core-1", "quiet"), event("core-1", "unheard of"), {"hostname": "x"}]);
    assert_eq!(sender.send(&batch).await.unwrap().status, 207);
    for path in ["api/v1/rules", "api/v1/audit-logs", "api/v1/no-such-thing"] {
        let url = format!("{}/{path}", roles[3].url());
        client().get(url).header("X-API-KEY", "e2e-webui-key").send().await.unwrap();
    }
}

/// Names before a selector.
fn metrics_in(query: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let before = query.match_indices('{').map(|(at, _)| &query[..at]);
    before.map(|text| text[text.trim_end_matches(is_name).len()..].to_owned()).filter(|name| !name.is_empty()).collect()
}

/// Queries about pipelines: those of the rules, and those of the dashboards with their panel.
fn queries() -> Vec<(String, String)> {
    let rules = sources::rules(&sources::standalone());
    let name = |rule: &Value| rule["alert"].as_str().or(rule["record"].as_str()).unwrap().to_owned();
    let rules = rules.iter().map(|rule| (name(rule), rule["expr"].as_str().unwrap().to_owned()));
    let panels = dashboards::queries().into_iter().filter(|(_, query)| !query.contains("mutt_operator_"));
    rules.chain(panels).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_is_asked_for_is_exported_and_every_rule_is_evaluated() {
    let directory = tempfile::tempdir().unwrap();
    let tls = certificate(directory.path());
    let mut pipeline = Pipeline::start().await;
    let roles = roles(&mut pipeline, &tls).await;
    let prometheus = prometheus::start(&roles, &tls).await;

    let mut asked: BTreeSet<String> = queries().iter().flat_map(|(_, query)| metrics_in(query)).collect();
    // Exists while an alert fires or is about to.
    asked.remove("ALERTS");
    assert!(asked.len() > 60 && asked.contains("up"), "{asked:?}");
    until_none_is_missing(&prometheus, async || {
        traffic(&pipeline, &roles).await;
        let there = prometheus::names(&prometheus).await;
        asked.difference(&there).cloned().collect()
    })
    .await;

    until_none_is_missing(&prometheus, async || {
        let data = prometheus::get(&prometheus, "rules", &[]).await;
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        assert!(!groups.is_empty());
        let evaluated = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        evaluated.filter(|rule| rule["health"] != "ok").map(|rule| format!("{}: {rule}", rule["name"])).collect()
    })
    .await;

    // A panel that may be empty says so: `> 0`, what was a week ago, alerts that fire.
    let panels = dashboards::queries()
        .into_iter()
        .filter(|(_, query)| !["mutt_operator_", "> 0", "offset", "ALERTS"].iter().any(|word| query.contains(word)));
    let panels: Vec<_> = panels.collect();
    assert!(panels.len() > 60, "{}", panels.len());
    until_none_is_missing(&prometheus, async || {
        traffic(&pipeline, &roles).await;
        let mut empty = Vec::new();
        for (panel, query) in &panels {
            let data = prometheus::get(&prometheus, "query", &[("query", query)]).await;
            if data["result"].as_array().is_none_or(Vec::is_empty) {
                empty.push(format!("{panel}: {query}"));
            }
        }
        empty
    })
    .await;
}
