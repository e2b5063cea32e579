//! The process from start to end.

use std::path::Path;

use k8s_openapi::{
    api::{coordination::v1::Lease, events::v1::Event},
    kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec, ServiceReference},
};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, PostParams},
};
use mutt_cluster::ControlPlane;
use mutt_operator::runtime::lease::holder;
use rustix::process::Signal;
use tokio::sync::OnceCell;

use super::{
    api::install,
    client, eventually,
    operator::{Operator, command},
};

/// The shared cluster, with our custom resources.
async fn cluster() -> (&'static ControlPlane, Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let cluster = ControlPlane::shared().await.unwrap();
    let client = client(cluster.kubeconfig(), None).await;
    INSTALLED.get_or_init(|| install(&client)).await;
    (cluster, client)
}

/// Lets the API server delegate OpenShift's Routes to a Service that does not exist.
async fn break_routes(client: &Client) {
    let service = ServiceReference {
        name: Some("none".to_owned()),
        namespace: Some("default".to_owned()),
        ..ServiceReference::default()
    };
    let spec = APIServiceSpec {
        group: Some("route.openshift.io".to_owned()),
        version: Some("v1".to_owned()),
        group_priority_minimum: 1000,
        version_priority: 1,
        insecure_skip_tls_verify: Some(true),
        service: Some(service),
        ..APIServiceSpec::default()
    };
    let metadata = ObjectMeta { name: Some("v1.route.openshift.io".to_owned()), ..ObjectMeta::default() };
    let broken = APIService { metadata, spec: Some(spec), status: None };
    let services: Api<APIService> = Api::all(client.clone());
    services.create(&PostParams::default(), &broken).await.unwrap();
    // Its state is read, not the API itself: the client would repeat that request for minutes.
    eventually("Routes are not available", async || {
        let conditions = services.get("v1.route.openshift.io").await.unwrap().status?.conditions?;
        conditions.iter().any(|is| is.type_ == "Available" && is.status == "False").then_some(())
    })
    .await;
}

async fn lease_holder(client: &Client, lease: &str) -> Option<String> {
    let lease = Api::<Lease>::namespaced(client.clone(), "default").get_opt(lease).await.unwrap()?;
    holder(&lease).map(str::to_owned)
}

#[tokio::test]
async fn sigterm_hands_the_lease_to_the_standby_at_once_and_ends_with_0() {
    let (cluster, client) = cluster().await;
    // The Lease would lapse after five minutes only.
    let flags = ["--lease-name=handed-on", "--lease-duration-seconds=300"];
    let mut first = Operator::start(cluster.kubeconfig(), &[&flags[..], &["--pod-name=first"]].concat());
    first.leads().await;
    first.answers("/ready", 200, "ready").await;
    let mut second = Operator::start(cluster.kubeconfig(), &[&flags[..], &["--pod-name=second"]].concat());
    second.logs("waiting for the Lease").await;
    second.answers("/ready", 200, "ready").await;
    second.answers("/live", 200, "alive").await;
    second.answers("/metrics", 200, "\nmutt_operator_leader 0\n").await;
    assert!(lease_holder(&client, "handed-on").await.unwrap().starts_with("first_"));
    first.signal(Signal::TERM);
    first.ends_with(0).await;
    second.leads().await;
    assert!(lease_holder(&client, "handed-on").await.unwrap().starts_with("second_"));
    eventually("an Event says who leads", async || {
        let events = Api::<Event>::namespaced(client.clone(), "default").list(&ListParams::default()).await.unwrap();
        events.into_iter().find(|event| {
            event.regarding.as_ref().and_then(|lease| lease.name.as_deref()) == Some("handed-on")
                && event.note.as_deref().is_some_and(|note| note.starts_with("second_") && note.ends_with(" leads"))
        })
    })
    .await;
    second.signal(Signal::INT);
    second.ends_with(0).await;
    assert_eq!(lease_holder(&client, "handed-on").await, None);
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_check_tells_who_leads() {
    let (cluster, _) = cluster().await;
    let flags = ["--lease-name=killed", "--lease-duration-seconds=3"];
    let mut first = Operator::start(cluster.kubeconfig(), &[&flags[..], &["--pod-name=first"]].concat());
    first.leads().await;
    let second = Operator::start(cluster.kubeconfig(), &[&flags[..], &["--pod-name=second"]].concat());
    second.logs("waiting for the Lease").await;
    first.signal(Signal::KILL);
    first.ends().await;
    second.leads().await;
    let (code, said) = check(cluster.kubeconfig(), &flags).await;
    assert!(code == 0 && said.contains("leader: second_"), "{code}: {said}");
}

#[tokio::test]
async fn check_says_what_is_wrong() {
    let (cluster, _) = cluster().await;
    let stranger = cluster.kubeconfig_of("stranger", None).unwrap();
    let (code, said) = check(&stranger, &["--lease-name=none", "--watch-namespace=somewhere"]).await;
    assert!(code == 1 && said.contains("MuttPipeline cannot be read in namespace somewhere"), "{code}: {said}");
    let (code, said) = check(cluster.kubeconfig(), &["--leader-election=false"]).await;
    assert!(code == 0 && said.contains("AlertRule: readable in all namespaces"), "{code}: {said}");
}

/// Exit code and output of `--check`.
async fn check(kubeconfig: &Path, flags: &[&str]) -> (i32, String) {
    let mut command = command(kubeconfig);
    command.arg("--check").args(flags);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn missing_custom_resources_and_a_lost_api_server_are_said_and_waited_for() {
    let mut cluster = ControlPlane::start().await.unwrap();
    let client = client(cluster.kubeconfig(), None).await;
    let mut operator = Operator::start(cluster.kubeconfig(), &["--lease-duration-seconds=6"]);
    operator.logs("install charts/mutt-crds").await;
    operator.answers("/ready", 503, "MuttPipeline of mutt.dev/v1alpha1 is not installed").await;
    operator.answers("/live", 200, "alive").await;
    assert_eq!(lease_holder(&client, "mutt-operator").await, None);
    // An optional API whose server is away holds nothing up, and does not hide the others.
    break_routes(&client).await;
    install(&client).await;
    operator.leads().await;
    operator.logs("route: false").await;
    operator.answers("/ready", 200, "ready").await;

    // It stops writing before the Lease could lapse, and comes back by itself.
    cluster.stop_api_server().unwrap();
    operator.logs("the Lease could not be renewed in time").await;
    operator.answers("/metrics", 200, "\nmutt_operator_leader 0\n").await;
    operator.answers("/live", 200, "alive").await;
    cluster.start_api_server().await.unwrap();
    operator.leads().await;
    operator.answers("/ready", 200, "ready").await;
    operator.signal(Signal::TERM);
    operator.ends_with(0).await;

    // One that is started without an API server waits for it.
    cluster.stop_api_server().unwrap();
    let mut operator = Operator::start(cluster.kubeconfig(), &["--lease-duration-seconds=6"]);
    operator.answers("/ready", 503, "the API server does not answer").await;
    operator.answers("/live", 200, "alive").await;
    operator.signal(Signal::TERM);
    operator.ends_with(0).await;
}

#[tokio::test]
async fn a_standby_that_may_not_ask_for_the_lease_is_not_ready() {
    let (cluster, _) = cluster().await;
    let stranger = cluster.kubeconfig_of("lease-stranger", Some("system:authenticated")).unwrap();
    let mut operator = Operator::start(&stranger, &["--lease-name=forbidden"]);
    operator.answers("/ready", 503, "leader election: ").await;
    operator.answers("/live", 200, "alive").await;
    operator.signal(Signal::TERM);
    operator.ends_with(0).await;
    assert_eq!(operator.log().matches("cannot ask for the Lease").count(), 1, "{}", operator.log());
}

#[tokio::test]
async fn a_busy_port_and_bad_flags_are_said_before_anything_else() {
    let nowhere = Path::new("/nowhere/kubeconfig");
    let taken = tokio::net::TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut operator = Operator::start_on(port, nowhere, &[]);
    operator.ends_with(69).await;
    assert!(operator.log().contains(&format!("cannot listen on port {port}")), "{}", operator.log());

    let mut operator = Operator::start(nowhere, &["--concurrency=0", "--lease-name=No"]);
    operator.ends_with(64).await;
    let log = operator.log();
    assert!(log.contains("--concurrency") && log.contains("--lease-name"), "{log}");
    let mut operator = Operator::start(nowhere, &["--no-such-flag"]);
    operator.ends_with(64).await;

    let mut operator = Operator::start(nowhere, &[]);
    operator.ends_with(69).await;
    assert!(operator.log().contains("no API server is known"), "{}", operator.log());
}

#[tokio::test]
async fn metrics_are_served_and_bounded_in_time() {
    let (cluster, _) = cluster().await;
    let operator = Operator::start(cluster.kubeconfig(), &["--lease-name=metrics"]);
    operator.leads().await;
    let (_, text) = eventually("metrics", async || operator.get("/metrics").await).await;
    for name in ["mutt_operator_build_info{version=", "mutt_operator_seconds_since_progress{task=\"runtime\"}"] {
        assert!(text.contains(name), "{name} is missing in:\n{text}");
    }
    // The Lease was created, which is the first write.
    assert!(text.contains(r#"mutt_operator_writes_total{resource="leases",verb="POST"} 1"#), "{text}");
}
