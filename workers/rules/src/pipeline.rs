//! The part of a MuttPipeline that rules need: development hosts and teams.

use serde::{Deserialize, Serialize};

/// A MuttPipeline of which only development hosts and teams are read; all other fields are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MuttPipelineView {
    /// What counts here.
    #[serde(default)]
    pub spec: PipelineSpecView,
}

/// The read fields of a MuttPipeline's spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineSpecView {
    /// Hosts, by exact name, whose events take the development handling. Default: none. Example: `[lab-1]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub development_hosts: Vec<String>,
    /// Which team owns which hosts, for meta-alerts about unhandled messages. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<TeamHosts>,
}

impl PipelineSpecView {
    /// Host and team pairs, in the order given.
    pub fn device_teams(&self) -> impl Iterator<Item = (String, String)> {
        self.teams.iter().flat_map(|entry| entry.hosts.iter().map(|host| (host.clone(), entry.team.clone())))
    }
}

/// A team and its hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamHosts {
    /// Name of the team. Example: `NETO`.
    pub team: String,
    /// Hosts by exact name. Example: `[core-1]`.
    #[serde(default)]
    pub hosts: Vec<String>,
}
