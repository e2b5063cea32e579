//! What all controllers share.

use std::{sync::Arc, time::Instant};

use kube::Client;

use crate::{
    external_metrics::{
        ExternalMetrics,
        queues::{Limits, Queues},
    },
    rules::RulesBoard,
};

use super::{
    Args, Fatal, client,
    discovery::ServedApis,
    events::Events,
    health::{Health, Work},
    metrics::{Metrics, Outcome},
};

/// Handed to every task, behind an `Arc`.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the operator was asked to do.
    pub args: Args,
    /// What Prometheus is told.
    pub metrics: Arc<Metrics>,
    /// What the probes are told.
    pub health: Health,
    /// Events on our own objects.
    pub events: Events,
    /// Which optional APIs the cluster serves.
    pub apis: ServedApis,
    /// What the rules half knows of each pipeline.
    pub rules: RulesBoard,
    /// The API `external.metrics.k8s.io`.
    pub external_metrics: ExternalMetrics,
    /// Depths and ages of all pipelines' queues.
    pub queues: Queues,
}

impl Context {
    /// Everything connected; nothing is sent yet.
    pub async fn new(args: Args) -> Result<Arc<Self>, Fatal> {
        let metrics = Metrics::new().map_err(|error| Fatal::failed("cannot make metrics", error))?;
        let metrics = Arc::new(metrics);
        let client = client::connect(metrics.clone()).await?;
        Ok(Arc::new(Self::with_client(args, client, metrics)))
    }

    /// The same around a client that is there already.
    pub fn with_client(args: Args, client: Client, metrics: Arc<Metrics>) -> Self {
        Self {
            events: Events::new(client.clone(), &args.pod_name),
            apis: ServedApis::new(client.clone()),
            health: Health::new(),
            rules: RulesBoard::default(),
            external_metrics: ExternalMetrics::default(),
            queues: Queues::new(client.clone(), metrics.clone(), args.watch_namespaces.clone(), Limits::default()),
            metrics,
            client,
            args,
        }
    }

    /// Where this process runs.
    pub fn namespace(&self) -> &str {
        self.args.pod_namespace.as_deref().unwrap_or(self.client.default_namespace())
    }

    /// `controller` begins a reconcile.
    pub fn reconciling(&self, controller: &'static str) -> Pass<'_> {
        self.metrics.queue_depth(controller).inc();
        Pass { context: self, controller, begun: Instant::now(), _work: self.health.begin(controller) }
    }
}

/// One reconcile under way; counted when it says how it ended. One that was cancelled is not.
pub struct Pass<'a> {
    context: &'a Context,
    controller: &'static str,
    begun: Instant,
    _work: Work,
}

impl Pass<'_> {
    /// It ended so.
    #[allow(clippy::needless_pass_by_value, reason = "a pass ends once")]
    pub fn end(self, outcome: Outcome) {
        self.context.metrics.reconciled(self.controller, outcome, self.begun.elapsed());
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.context.metrics.queue_depth(self.controller).dec();
    }
}
