//! A change of rules is live without a restart, whatever way it is made.

use std::fs;

use mutt_e2e::{Pipeline, Role, RoleProcess, event, eventually, output_of, repository};
use rustix::process::Signal;

/// Sends the message until an event of that host is audited with the decision; each try is a new event.
async fn decided(pipeline: &Pipeline, ingestor: &RoleProcess, message: &str, decision: &str) {
    let sender = pipeline.sender(ingestor);
    let host = format!("host-{decision}");
    let sql =
        format!("SELECT count(*) FROM event_audit_log WHERE hostname = '{host}' AND handling_decision = '{decision}'");
    eventually(&format!("`{message}` decided as {decision}"), async || {
        let answer = sender.send(&event(&host, message)).await;
        assert!(answer.is_some_and(|answer| answer.status == 200));
        pipeline.number(&sql).await > Some(0)
    })
    .await;
}

#[tokio::test]
async fn sql_and_rule_files_change_what_running_alerters_do() {
    let pipeline = Pipeline::start().await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    let _alerter = pipeline.run(Role::Alerter).await;
    decided(&pipeline, &ingestor, "a zebra appears", "unhandled").await;
    pipeline
        .sql(
            "INSERT INTO alert_rules (match_string, prod_handling, dev_handling, team_assignment) \
             VALUES ('zebra', 'Ticket_only', 'Ignore', 'ZOO')",
        )
        .await;
    decided(&pipeline, &ingestor, "a zebra appears", "Ticket_only").await;

    let rules = repository().join("manifests/samples/rules");
    let output = output_of(&["rules", "apply", "-f", rules.to_str().unwrap(), "--wait"], pipeline.settings()).await;
    assert!(output.status.success(), "{output:?}");
    decided(&pipeline, &ingestor, "kernel: Out of memory: Killed process 7 (x)", "Page_only").await;
}

#[tokio::test]
async fn a_directory_of_rule_files_is_read_again_on_sighup_and_a_bad_file_harms_no_other() {
    let mut pipeline = Pipeline::start().await;
    let directory = tempfile::tempdir().unwrap();
    let rule = |name: &str, text: &str, handling: &str| {
        let yaml = format!(
            "apiVersion: mutt.dev/v1alpha1\nkind: AlertRule\nmetadata: {{name: {name}}}\nspec:\n  \
             match: {{message: {text}}}\n  handling: {{production: {handling}, development: Ignore}}\n  team: NETO\n"
        );
        fs::write(directory.path().join(format!("{name}.yaml")), yaml).unwrap();
    };
    rule("first", "{contains: lion}", "Page_only");
    pipeline.set("RULES_SOURCE", "dir");
    pipeline.set("RULES_DIR", directory.path().to_str().unwrap());
    // Only the signal can be the reason, not the poll.
    pipeline.set("CACHE_RELOAD_INTERVAL", "3600");
    pipeline.set("RULES_POLL_INTERVAL", "3600");
    let ingestor = pipeline.run(Role::Ingestor).await;
    let alerter = pipeline.run(Role::Alerter).await;
    decided(&pipeline, &ingestor, "a lion roars", "Page_only").await;

    rule("second", "{contains: tiger}", "Ticket_only");
    rule("broken", "{regex: '('}", "Ticket_only");
    alerter.signal(Signal::HUP);
    decided(&pipeline, &ingestor, "a tiger roars", "Ticket_only").await;
    decided(&pipeline, &ingestor, "a lion roars", "Page_only").await;
}
