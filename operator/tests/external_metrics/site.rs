//! A control plane with the HPA controller that all tests of this file share, namespaces with pipelines, and servers within
//! the test's process.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use mutt_cluster::{ControlPlane, ControlPlaneOptions};
use mutt_crds::MuttPipeline;
use mutt_operator::{
    external_metrics::{
        self,
        queues::{Limits, Queues},
    },
    runtime::{
        Args, Context, Shutdown,
        args::{ExternalMetricsArgs, Given},
        http,
        metrics::Metrics,
        shutdown::ShutdownTrigger,
    },
};
use mutt_servers::RedisServer;
use serde_json::{Value, json};
use tokio::{sync::OnceCell, task::JoinHandle, time::Instant};

use super::{LIMIT, LOOK_EVERY, api, authority::Authority};

/// Waits until `condition` holds; what is seen instead stands in the failure.
pub(crate) async fn eventually<T>(mut condition: impl AsyncFnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(seen) => assert!(Instant::now() < until, "not within {LIMIT:?}: {seen}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The control plane that all tests of this file share. Not the one of `ControlPlane::shared`, since there is one APIService
/// of a name in a cluster, and the one here is made by hand.
pub(crate) async fn cluster() -> &'static ControlPlane {
    static CLUSTER: OnceCell<ControlPlane> = OnceCell::const_new();
    let start = async || {
        mutt_servers::sweep_abandoned();
        let cluster = ControlPlaneOptions::new().controller_manager().start().await.unwrap();
        api::install(&admin_of(&cluster).await).await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

async fn admin_of(cluster: &ControlPlane) -> Client {
    client_of(cluster.kubeconfig()).await
}

pub(crate) async fn client_of(kubeconfig: &Path) -> Client {
    Client::try_from(api::config(kubeconfig, None).await).unwrap()
}

/// An administrator's client of the shared control plane.
pub(crate) async fn admin() -> Client {
    admin_of(cluster().await).await
}

/// An address of this machine that endpoints may have: none of the loopback's.
pub(crate) fn address() -> Ipv4Addr {
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap();
    let mut last = None;
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = last.filter(|address| !address.is_loopback())
        {
            return address;
        }
    }
    panic!("this machine has no address but the loopback's:\n{table}");
}

/// Applies an object of any kind.
pub(crate) async fn apply(client: &Client, object: &Value) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
    let api: Api<DynamicObject> = match text("/metadata/namespace") {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    api.patch(text("/metadata/name"), &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
}

pub(crate) async fn make_namespace(client: &Client, name: &str) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
}

/// A pipeline whose keys begin with `<namespace>-<name>`.
pub(crate) async fn make_pipeline(
    client: &Client,
    namespace: &str,
    name: &str,
    redis: &RedisServer,
    secret: Option<&str>,
) {
    let object = json!({
        "apiVersion": "mutt.dev/v1alpha1", "kind": "MuttPipeline", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "redis": {"url": format!("redis://127.0.0.1:{}", redis.port()), "keyPrefix": format!("{namespace}-{name}"), "credentialsSecret": secret},
            "postgres": {"host": "postgres", "credentialsSecret": "mutt-postgres"},
            "moogsoft": {"url": "https://moog.example.com/events", "credentialsSecret": "mutt-moog"},
            "ingestor": {"apiKeySecret": "mutt-ingest"},
        },
    });
    let api: Api<MuttPipeline> = Api::namespaced(client.clone(), namespace);
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
}

/// Lets so many events wait in the pipeline's ingest queue, accepted in 2001.
pub(crate) async fn accept(redis: &RedisServer, namespace: &str, pipeline: &str, events: usize) {
    let key = format!("{namespace}-{pipeline}:ingest_queue");
    let mut words = vec!["LPUSH", key.as_str()];
    words.extend(std::iter::repeat_n(r#"{"message":"down","_received_at":"2001-01-01T00:00:00Z"}"#, events));
    redis.command(&words).await.unwrap();
}

/// The server as every replica runs it, on ports of its own.
pub(crate) struct Server {
    pub(crate) context: Arc<Context>,
    /// The name that its certificate is for.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) plain_port: u16,
    pub(crate) authority: Authority,
    pub(crate) end: ShutdownTrigger,
    pub(crate) task: JoinHandle<Result<(), rustls::Error>>,
}

impl Server {
    /// One whose rights are the client's. `hold` as in [`Limits`].
    pub(crate) async fn start(client: Client, service: &str, namespace: &str, limits: Limits) -> Self {
        let flags = ["mutt-operator", "--pod-name=operator-0", "--http-port=0"];
        let mut args = Args::new(<Given as clap::Parser>::try_parse_from(flags).unwrap()).unwrap();
        args.external_metrics =
            ExternalMetricsArgs { port: 0, service: Some(service.to_owned()), ..args.external_metrics };
        let listener = external_metrics::bind(&args).await.unwrap().unwrap();
        let plain = http::bind(0).await.unwrap();
        let (port, plain_port) = (listener.local_addr().unwrap().port(), plain.local_addr().unwrap().port());
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut context = Context::with_client(args, client.clone(), metrics.clone());
        context.queues = Queues::new(client, metrics, Vec::new(), limits);
        let context = Arc::new(context);
        let (end, ended) = Shutdown::channel();
        tokio::spawn(context.queues.clone().keep());
        tokio::spawn(http::serve(plain, context.clone()));
        let task = tokio::spawn(external_metrics::serve(context.clone(), Some(listener), ended));
        let (authority, host) = (Authority::new(), format!("{service}.{namespace}.svc"));
        context.external_metrics.set_certificate(Some(authority.server(&host)));
        Self { context, host, port, plain_port, authority, end, task }
    }

    /// A client that trusts the server's CA; `identity` = certificate and key to show.
    pub(crate) fn client(&self, identity: Option<&str>) -> reqwest::Client {
        client_for(&self.host, self.port, &self.authority.pem, identity)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", self.host, self.port)
    }

    /// Code and body of an answer to a request with these headers.
    pub(crate) async fn get(&self, client: &reqwest::Client, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let request =
            headers.iter().fold(client.get(self.url(path)), |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if code >= 400 && body.is_object() {
            assert_eq!((&body["kind"], &body["code"]), (&json!("Status"), &json!(code)), "{body}");
        }
        (code, body)
    }

    /// The answer on the plain port.
    pub(crate) async fn scaling(&self, namespace: &str, pipeline: &str) -> (u16, Value) {
        let url = format!("http://127.0.0.1:{}/scaling/{namespace}/{pipeline}", self.plain_port);
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self) {
        let client = self.client(None);
        eventually(async || match self.get(&client, "/readyz", &[]).await {
            (200, _) => Ok(()),
            (code, body) => Err(format!("/readyz answers {code}: {body}")),
        })
        .await;
    }

    pub(crate) fn metrics(&self) -> String {
        self.context.metrics.exposition(std::iter::empty())
    }
}

/// A client of a server on this machine that trusts only this CA; `identity` = certificate and key to show.
pub(crate) fn client_for(host: &str, port: u16, authority: &str, identity: Option<&str>) -> reqwest::Client {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let authority = reqwest::Certificate::from_pem(authority.as_bytes()).unwrap();
    let builder =
        reqwest::Client::builder().no_proxy().tls_certs_only([authority]).resolve(host, address).timeout(LIMIT);
    match identity {
        Some(pem) => builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap()),
        None => builder,
    }
    .build()
    .unwrap()
}

/// Certificate and key (PEM) of a user of the control plane; its CA is the request-header CA, too.
pub(crate) async fn identity(user: &str) -> String {
    let kubeconfig = cluster().await.kubeconfig_of(user, None).unwrap();
    let config: Value = serde_json::from_str(&std::fs::read_to_string(kubeconfig).unwrap()).unwrap();
    let read = |file: &str| std::fs::read_to_string(config["users"][0]["user"][file].as_str().unwrap()).unwrap();
    read("client-certificate") + &read("client-key")
}

/// The path of a metric.
pub(crate) fn path(namespace: &str, metric: &str, selector: &str) -> String {
    let selector: String = selector
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}?labelSelector={selector}")
}

/// The values in a list, by queue and state.
pub(crate) fn values(list: &Value) -> Vec<(String, String)> {
    let item = |item: &Value| {
        let labels = &item["metricLabels"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            format!("{}/{}/{}", text(&labels["pipeline"]), text(&labels["queue"]), text(&labels["state"])),
            text(&item["value"]),
        )
    };
    assert_eq!(list["kind"], "ExternalMetricValueList", "{list}");
    list["items"].as_array().unwrap().iter().map(item).collect()
}
