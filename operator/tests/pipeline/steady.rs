//! Where nothing has to be done, nothing is written.

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use mutt_crds::MuttPipeline;
use serde_json::json;

use super::harness::{Operator, Site, eventually, spec};

/// Makes the operator look at the pipeline again, without any reason.
pub(crate) async fn looked_at_again(site: &Site, operator: &Operator, number: u32) {
    let before = operator.reconciles("unchanged") + operator.reconciles("changed");
    let annotation = json!({"metadata": {"annotations": {"look": number.to_string()}}});
    site.api::<MuttPipeline>().patch("core", &PatchParams::default(), &Patch::Merge(annotation)).await.unwrap();
    eventually("a reconcile", async || {
        (operator.reconciles("unchanged") + operator.reconciles("changed") > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_runs_is_written_no_more() {
    let site = Site::new("steady").await;
    let mut spec = spec("steady");
    spec["forwarder"] = json!({"autoscaling": {"mode": "External", "maxReplicas": 5}});
    spec["alerter"] = json!({"autoscaling": {"mode": "None", "maxReplicas": 5}});
    spec["ingestor"]["autoscaling"] = json!({"maxReplicas": 5});
    spec["webUi"]["autoscaling"] = json!({"mode": "Keda", "maxReplicas": 5});
    spec["networkPolicy"] = json!({});
    site.pipeline("core", &spec).await;
    let operator = site.operator().await;
    site.everything_runs(&operator, "core").await;
    site.condition("core", "Progressing", "False", "Complete").await;
    looked_at_again(&site, &operator, 0).await;
    let versions = async || {
        let children = site.all_children("core").await;
        children.into_iter().map(|(kind, child)| (kind, child.name_any(), child.resource_version())).collect::<Vec<_>>()
    };
    let (writes, children, changed) = (operator.writes(), versions().await, operator.reconciles("changed"));
    for number in 1..=5 {
        looked_at_again(&site, &operator, number).await;
    }
    assert_eq!(operator.writes(), writes);
    assert_eq!(versions().await, children);
    assert_eq!(operator.reconciles("changed"), changed);
    assert_eq!(operator.reconciles("error"), 0);
    operator.stop().await;

    // After a restart nothing is remembered: everything is sent once, and changes nothing.
    let operator = site.operator().await;
    site.rules_are_active(&operator, "core").await;
    looked_at_again(&site, &operator, 6).await;
    looked_at_again(&site, &operator, 7).await;
    let writes = operator.writes();
    looked_at_again(&site, &operator, 8).await;
    assert_eq!(operator.writes(), writes);
    assert_eq!(versions().await, children, "an apply of the same changes no resource version");
    operator.stop().await;
}
