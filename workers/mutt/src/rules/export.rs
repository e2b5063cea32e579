//! `mutt rules export`.

use std::collections::BTreeMap;
use std::path::Path;

use mutt_rules::{API_VERSION, AlertRule, MuttPipelineView, TeamHosts};
use serde::Serialize;
use serde_json::json;

use super::apply::Destination;
use super::sources::counted;
use super::table;
use crate::cli::{Output, Tool, print};
use crate::worker::Fatal;

/// Everything that PostgreSQL holds, as files would.
#[derive(Debug)]
pub(super) struct Exported {
    /// The rules in the order in which they are tried.
    pub(super) rules: Vec<AlertRule>,
    /// Rows that are no rules: id and why.
    pub(super) unreadable: Vec<(i32, String)>,
    hosts: Vec<String>,
    teams: BTreeMap<String, Vec<String>>,
}

/// A MuttPipeline of which only hosts and teams are known.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PipelineFile<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(flatten)]
    view: MuttPipelineView,
}

/// Runs `mutt rules export`.
pub(super) async fn export(to: &Path, output: Output, tool: &Tool) -> Result<(), Fatal> {
    let destination = Destination::open(tool)?;
    let exported = read(&destination).await?;
    for (id, error) in &exported.unreadable {
        eprintln!("rule {id} is left out: {error}");
    }
    if to.as_os_str() == "-" {
        let text = match output {
            Output::Text => exported.yaml()?,
            Output::Json => exported.json()?,
        };
        print(Output::Text, &(), |()| text)?;
    } else {
        let files = exported.files()?;
        std::fs::create_dir_all(to).map_err(|error| Fatal::failed(format!("cannot make {}", to.display()), error))?;
        for (name, text) in &files {
            let path = to.join(name);
            std::fs::write(&path, text)
                .map_err(|error| Fatal::failed(format!("cannot write {}", path.display()), error))?;
        }
        let names: Vec<&String> = files.iter().map(|(name, _)| name).collect();
        let text = format!("{} written to {}", counted(files.len(), "file"), to.display());
        print(output, &json!({ "directory": to, "files": names }), |_| text)?;
    }
    match exported.unreadable.len() {
        0 => Ok(()),
        count => Err(Fatal::Findings(format!("{} left out", counted(count, "unreadable row")))),
    }
}

/// Reads everything in one snapshot.
pub(super) async fn read(destination: &Destination) -> Result<Exported, Fatal> {
    let failed = |error: sqlx::Error| destination.failed(error);
    let mut transaction = destination.pool.begin().await.map_err(failed)?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    let (mut rules, mut unreadable) = (Vec::new(), Vec::new());
    for (id, row) in table::all(&mut *transaction).await.map_err(failed)? {
        match row {
            Ok(columns) => rules.push(columns.alert_rule(id)),
            Err(error) => unreadable.push((id, error.to_string())),
        }
    }
    let hosts = sqlx::query_scalar("SELECT hostname FROM development_hosts ORDER BY hostname")
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
    let pairs: Vec<(String, String)> =
        sqlx::query_as("SELECT hostname, team_assignment FROM device_teams ORDER BY hostname")
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed)?;
    let mut teams: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (host, team) in pairs {
        teams.entry(team).or_default().push(host);
    }
    Ok(Exported { rules, unreadable, hosts, teams })
}

impl Exported {
    fn pipeline(&self) -> Option<PipelineFile<'static>> {
        if self.hosts.is_empty() && self.teams.is_empty() {
            return None;
        }
        let mut view = MuttPipelineView::default();
        view.spec.development_hosts.clone_from(&self.hosts);
        view.spec.teams =
            self.teams.iter().map(|(team, hosts)| TeamHosts { team: team.clone(), hosts: hosts.clone() }).collect();
        let metadata = BTreeMap::from([("name", "mutt")]);
        Some(PipelineFile { api_version: API_VERSION, kind: "MuttPipeline", metadata, view })
    }

    /// One text of several documents.
    pub(super) fn yaml(&self) -> Result<String, Fatal> {
        let files = self.files()?;
        let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
        Ok(texts.join("---\n"))
    }

    /// One JSON document: a list, as `kubectl get -o json` gives it.
    fn json(&self) -> Result<String, Fatal> {
        let failed = |error| Fatal::failed("cannot write JSON", error);
        let mut items = Vec::new();
        for rule in &self.rules {
            items.push(serde_json::to_value(rule).map_err(failed)?);
        }
        if let Some(pipeline) = self.pipeline() {
            items.push(serde_json::to_value(pipeline).map_err(failed)?);
        }
        serde_json::to_string_pretty(&json!({ "items": items })).map_err(failed)
    }

    /// File names and texts.
    pub(super) fn files(&self) -> Result<Vec<(String, String)>, Fatal> {
        let mut files = Vec::new();
        for rule in &self.rules {
            let namespace = rule.metadata.namespace.as_ref().map(|namespace| format!("{namespace}."));
            let name = format!("{}{}.yaml", namespace.unwrap_or_default(), rule.metadata.name);
            files.push((name.replace(['/', '\\'], "_"), yaml(rule)?));
        }
        if let Some(pipeline) = self.pipeline() {
            files.push(("pipeline.yaml".to_owned(), yaml(&pipeline)?));
        }
        Ok(files)
    }
}

fn yaml<T: Serialize>(value: &T) -> Result<String, Fatal> {
    let mut text = serde_saphyr::to_string(value).map_err(|error| Fatal::failed("cannot write YAML", error))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
