//! What the claim on the APIService is tested with: a control plane of its own, since a cluster has one such object, with
//! the garbage collector; installations as the chart makes them; and replicas of the operator, as far as they serve the API.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Secret},
        rbac::v1::ClusterRole,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use mutt_cluster::{ControlPlane, ControlPlaneOptions};
use mutt_operator::{
    external_metrics::{
        self, Standing,
        certificate::{self, Pace},
        claim,
    },
    rules::PipelineKey,
    runtime::{
        Args, Context, Shutdown,
        args::{CertificateSource, ExternalMetricsArgs, Given},
        metrics::Metrics,
        shutdown::ShutdownTrigger,
    },
};
use serde_json::json;
use tokio::{
    sync::{Mutex, MutexGuard, OnceCell},
    task::JoinSet,
    time::Duration,
};

use super::{
    LIMIT, api,
    site::{address, apply, client_of, eventually},
};

pub(crate) const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
pub(crate) const SERVICE: &str = "mutt-external-metrics";

/// The control plane, for one test at a time.
pub(crate) async fn alone() -> (Client, MutexGuard<'static, ()>) {
    static TURN: Mutex<()> = Mutex::const_new(());
    static CLUSTER: OnceCell<ControlPlane> = OnceCell::const_new();
    let turn = TURN.lock().await;
    let start = async || {
        mutt_servers::sweep_abandoned();
        let cluster = ControlPlaneOptions::new().controller_manager().start().await.unwrap();
        api::install(&client_of(cluster.kubeconfig()).await).await;
        cluster
    };
    let cluster = CLUSTER.get_or_init(start).await;
    let client = client_of(cluster.kubeconfig()).await;
    // Of a test that failed.
    let _ = Api::<APIService>::all(client.clone()).delete(API_SERVICE, &DeleteParams::default()).await;
    (client, turn)
}

/// A release of the chart, as far as it matters here.
pub(crate) struct Installation {
    pub(crate) client: Client,
    pub(crate) namespace: &'static str,
    /// Nobody is behind the Service here, which the API server notices.
    pub(crate) patience: Duration,
}

impl Installation {
    pub(crate) async fn new(client: &Client, namespace: &'static str) -> Self {
        let this = Self { client: client.clone(), namespace, patience: claim::Pace::default().unreached_after };
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}})).unwrap();
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let object = serde_json::from_value(json!({"metadata": {"name": this.owner()}})).unwrap();
        this.owners().create(&PostParams::default(), &object).await.unwrap();
        this
    }

    /// The ClusterRole that owns what the operator makes.
    pub(crate) fn owner(&self) -> String {
        format!("{}-external-metrics", self.namespace)
    }

    pub(crate) fn owners(&self) -> Api<ClusterRole> {
        Api::all(self.client.clone())
    }

    pub(crate) fn services(&self) -> Api<APIService> {
        Api::all(self.client.clone())
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    /// The APIService, as soon as this installation has it.
    pub(crate) async fn taken(&self) -> APIService {
        eventually(async || match self.services().get_opt(API_SERVICE).await.unwrap() {
            Some(found)
                if found.spec.as_ref().unwrap().service.as_ref().unwrap().namespace.as_deref()
                    == Some(self.namespace) =>
            {
                Ok(found)
            }
            found => Err(format!("the APIService is not {}'s: {found:?}", self.namespace)),
        })
        .await
    }

    pub(crate) async fn free(&self) {
        eventually(async || match self.services().get_opt(API_SERVICE).await.unwrap() {
            None => Ok(()),
            Some(found) => Err(format!("there is still {found:?}")),
        })
        .await;
    }

    /// The chart's Service, with these replicas behind it: the API server reaches them.
    pub(crate) async fn publish(&self, replicas: &[&Replica]) {
        let metadata = |name: &str| json!({"name": name, "namespace": self.namespace, "labels": {"kubernetes.io/service-name": SERVICE}});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(SERVICE), "spec": {"ports": [
            {"name": "metrics-api", "port": 443},
        ]}});
        apply(&self.client, &service).await;
        for replica in replicas {
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": metadata(&format!("{SERVICE}-{}", replica.port)),
                "ports": [{"name": "metrics-api", "port": replica.port, "protocol": "TCP"}],
                "endpoints": [{"addresses": [address().to_string()], "conditions": {"ready": true}}],
            });
            apply(&self.client, &slice).await;
        }
    }

    pub(crate) async fn replica(&self, leads: bool, source: CertificateSource, pace: Pace) -> Replica {
        let flags = ["mutt-operator", "--pod-name=operator-0"];
        let mut args = Args::new(<Given as clap::Parser>::try_parse_from(flags).unwrap()).unwrap();
        args.pod_namespace = Some(self.namespace.to_owned());
        args.external_metrics = ExternalMetricsArgs {
            enabled: true,
            port: 0,
            service: Some(SERVICE.to_owned()),
            cluster_role: Some(self.owner()),
            certificate: source,
            secret: None,
        };
        let listener = external_metrics::bind(&args).await.unwrap();
        let port = listener.as_ref().unwrap().local_addr().unwrap().port();
        let context = Context::with_client(args, self.client.clone(), Arc::new(Metrics::new().unwrap()));
        let context = Arc::new(context);
        let (end, ended) = Shutdown::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(context.queues.clone().keep());
        tasks.spawn(certificate::keep_at(context.clone(), pace));
        let server = external_metrics::serve(context.clone(), listener, ended.clone());
        tasks.spawn(async move {
            server.await.unwrap();
            Ok(())
        });
        if leads {
            let look_every = Duration::from_millis(500);
            let pace = claim::Pace { release_after: Duration::ZERO, look_every, unreached_after: self.patience };
            tasks.spawn(claim::run_at(context.clone(), ended, pace));
        }
        let host = format!("{SERVICE}.{}.svc", self.namespace);
        Replica { context, host, port, _end: end, _tasks: tasks }
    }
}

/// How things are done within a test's time.
pub(crate) fn quick() -> Pace {
    Pace { read_every: Duration::from_millis(200), ..Pace::default() }
}

/// A replica within the test's process; it ends with this value.
pub(crate) struct Replica {
    pub(crate) context: Arc<Context>,
    host: String,
    port: u16,
    _end: ShutdownTrigger,
    _tasks: JoinSet<Result<(), std::convert::Infallible>>,
}

impl Replica {
    pub(crate) fn want(&self, wants: bool) {
        self.context.external_metrics.want(&PipelineKey::new("netops", "core"), wants);
    }

    pub(crate) async fn stands(&self, standing: &Standing) {
        eventually(async || match self.context.external_metrics.standing() {
            now if now == *standing => Ok(()),
            now => Err(format!("{now:?} instead of {standing:?}")),
        })
        .await;
    }

    /// Waits until it is said to be another's, in words that begin so.
    pub(crate) async fn is_taken(&self, by: &str) -> String {
        eventually(async || match self.context.external_metrics.standing() {
            Standing::Taken(who) if who.starts_with(by) => Ok(who),
            now => Err(format!("{now:?} instead of Taken by {by}")),
        })
        .await
    }

    /// The standing, once it is one of being off; its reason.
    pub(crate) async fn is_off(&self) -> String {
        eventually(async || match self.context.external_metrics.standing() {
            Standing::Off(why) => Ok(why),
            now => Err(format!("{now:?} instead of Off")),
        })
        .await
    }

    /// The certificate that it shows, DER.
    pub(crate) async fn shows(&self) -> Vec<u8> {
        eventually(async || self.certificate().ok_or_else(|| "it shows no certificate".to_owned())).await
    }

    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        let certificate = self.context.external_metrics.certificate().borrow().clone()?;
        Some(certificate.cert[0].to_vec())
    }

    /// Asks it as an API server does that trusts `bundle` and nothing else.
    pub(crate) async fn ask(&self, bundle: &[u8]) -> Result<(), reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(bundle)?)
            .resolve(&self.host, SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))
            .timeout(LIMIT)
            .build()?;
        client.get(format!("https://{}:{}/livez", self.host, self.port)).send().await.map(drop)
    }
}

/// What an APIService has clients trust.
pub(crate) fn bundle_of(service: &APIService) -> Vec<u8> {
    service.spec.as_ref().unwrap().ca_bundle.clone().unwrap_or_default().0
}
