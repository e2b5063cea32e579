//! `mutt rules` on files, and on real servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apply;
mod files;

use super::sources::Sources;

/// Two rules and a pipeline.
const FILE: &str = r#"
apiVersion: mutt.dev/v1alpha1
kind: AlertRule
metadata: {name: bgp, namespace: netops, labels: {pipeline: core}}
spec:
  description: "BGP session lost: é 🚪"
  priority: 10
  match:
    message: {regex: "neighbor (\\S+) .*Down"}
    severity: {atMost: 3}
    hosts: ["core-*", "10.1.0.0/16"]
  handling: {production: Page_and_ticket, development: Ignore}
  severity: Critical
  team: NETO
  tests:
  - event: {hostname: core-1, message: "neighbor 10.0.0.1 is Down", syslog_severity: 3}
    expect: match
  - event: {hostname: edge-1, message: "neighbor 10.0.0.1 is Down", syslog_severity: 3}
    expect: no_match
---
apiVersion: mutt.dev/v1alpha1
kind: AlertRule
metadata: {name: link}
spec:
  match: {message: {contains: "LINK: 'up' \"down\" #1"}, trapOid: 1.3.6.1.6.3.1.1.5.3}
  handling: {production: Ticket_only, development: Log_only}
  team: "yes"
---
apiVersion: mutt.dev/v1alpha1
kind: MuttPipeline
metadata: {name: core}
spec:
  developmentHosts: [lab-1, "007"]
  teams: [{team: NETO, hosts: [core-1, core-2]}, {team: SRE, hosts: [web-1]}]
"#;

fn sources(text: &str) -> Sources {
    let sources = Sources::from_text(text);
    assert_eq!(sources.problems, []);
    sources
}
