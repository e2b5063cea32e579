//! The API server goes and comes back.

use kube::api::DeleteParams;
use mutt_cluster::ControlPlane;
use mutt_operator::pipeline::kinds::ChildKind;
use serde_json::json;

use super::{
    api::install,
    harness::{Operator, Site, admin, spec},
};

#[tokio::test]
async fn work_goes_on_after_an_outage_of_the_api_server() {
    let mut cluster = ControlPlane::start().await.unwrap();
    install(&admin(&cluster).await).await;
    let site = Site::within(&cluster, "outage").await;
    site.pipeline("core", &spec("outage")).await;
    let operator = Operator::start(cluster.kubeconfig(), &[]).await;
    site.exists(ChildKind::Deployment, "core-ingestor").await;
    cluster.stop_api_server().unwrap();
    cluster.start_api_server().await.unwrap();
    // The test's own connections are those of before.
    let site = Site { client: admin(&cluster).await, ..site };
    site.children(ChildKind::Service).delete("core-ingestor", &DeleteParams::default()).await.unwrap();
    site.exists(ChildKind::Service, "core-ingestor").await;
    let mut more = spec("outage");
    more["ingestor"]["replicas"] = json!(5);
    site.pipeline("core", &more).await;
    super::harness::eventually("the new number", async || {
        let deployment = site.children(ChildKind::Deployment).get("core-ingestor").await.unwrap();
        (deployment.data["spec"]["replicas"] == 5).then_some(())
    })
    .await;
    operator.stop().await;
}
