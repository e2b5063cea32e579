//! "Kubernetes in five minutes": the README's commands as they stand there.

use mutt_e2e::{argo_cd_health, eventually};

use super::installation::{DumpOnFailure, installed};
use super::kubectl::{get, kubectl, readme};
use super::outside::Outside;

#[tokio::test]
async fn the_readme_leads_to_an_alert() {
    let _operator = installed().await;
    let _dump = DumpOnFailure("netops");
    let outside = Outside::start().await;
    let variables = outside.variables();
    readme("secrets", &variables).await;
    readme("pipeline", &variables).await;
    let shown = readme("rules", &variables).await;
    assert!(shown.contains("muttpipeline.mutt.dev/core") && shown.contains("bgp-neighbor-down"), "{shown}");
    readme("send", &variables).await;
    eventually("the alert at the webhook", async || {
        outside.webhook.with_received(|all| {
            all.iter().any(|alert| alert.text("source_id") == "core-1" && alert.text("class") == "NETO")
        })
    })
    .await;
    let rows = "SELECT rule_name FROM event_audit_log WHERE hostname = 'core-1'";
    assert_eq!(outside.postgres.sql("postgres", rows).await.unwrap().trim(), "netops/bgp-neighbor-down");

    // Two pods of each role, and the status says so.
    let pipeline = get("netops", "muttpipeline", "core").await.unwrap();
    let components = pipeline["status"]["components"].as_array().unwrap();
    let ready: Vec<_> =
        components.iter().map(|role| (role["name"].as_str().unwrap(), role["ready"].as_i64())).collect();
    assert_eq!(ready, ["ingestor", "alerter", "forwarder", "webui"].map(|role| (role, Some(2))));
    assert_eq!(pipeline["status"]["rules"]["active"], "2/2", "{pipeline:#}");

    // Argo CD would agree.
    let rule = get("netops", "alertrule", "bgp-neighbor-down").await.unwrap();
    for (kind, object) in [("MuttPipeline", &pipeline), ("AlertRule", &rule)] {
        let (health, why) = argo_cd_health(kind, object);
        assert_eq!(health, "Healthy", "{why}: {object:#}");
    }

    // Every field is explained.
    let explained = kubectl(&["explain", "muttpipeline.spec.moogsoft.rateLimit"]).await;
    assert!(explained.contains("Alerts per period"), "{explained}");
    kubectl(&["delete", "namespace", "netops", "--wait=true", "--timeout=3m"]).await;
}
