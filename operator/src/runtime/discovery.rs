//! Which optional APIs the cluster serves. They may come and go while the operator runs, so they are asked for again.

use std::{convert::Infallible, time::Duration};

use kube::Client;
use tokio::sync::watch;

/// How often the API server is asked again.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// Bound of one question.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// The optional kinds of other projects that the operator writes where they are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// OpenShift's Route, `route.openshift.io/v1`.
    pub route: bool,
    /// Prometheus operator's ServiceMonitor, `monitoring.coreos.com/v1`.
    pub service_monitor: bool,
    /// Prometheus operator's PrometheusRule, `monitoring.coreos.com/v1`.
    pub prometheus_rule: bool,
    /// KEDA's ScaledObject, `keda.sh/v1alpha1`.
    pub keda: bool,
}

/// [`Served`], kept up to date by [`ServedApis::keep`]. Cheap to clone.
#[derive(Clone)]
pub struct ServedApis {
    client: Client,
    served: watch::Sender<Option<Served>>,
}

impl ServedApis {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, served: watch::Sender::new(None) }
    }

    /// What is served, as far as is known.
    pub fn served(&self) -> Served {
        self.served.borrow().unwrap_or_default()
    }

    /// Sees every change; what is known now counts as seen.
    pub fn changes(&self) -> watch::Receiver<Option<Served>> {
        let mut receiver = self.served.subscribe();
        receiver.mark_unchanged();
        receiver
    }

    /// Asks again and again.
    pub async fn keep(self) -> Result<(), Infallible> {
        loop {
            tokio::time::sleep(REFRESH_EVERY).await;
            // What failed is in the log, and is asked for again.
            let _ = self.refresh().await;
        }
    }

    /// Asks once for each API group, and takes in each answer as it comes: an API of another project that is out of order
    /// must not hide the others. Of a group that fails, what was known stays (at first: not served); `Err` = one did.
    pub async fn refresh(&self) -> Result<(), kube::Error> {
        let (routes, monitoring, keda) = tokio::join!(
            self.ask("route.openshift.io/v1", |served, has| served.route = has("Route")),
            self.ask("monitoring.coreos.com/v1", |served, has| {
                served.service_monitor = has("ServiceMonitor");
                served.prometheus_rule = has("PrometheusRule");
            }),
            self.ask("keda.sh/v1alpha1", |served, has| served.keda = has("ScaledObject")),
        );
        routes.and(monitoring).and(keda)
    }

    async fn ask(&self, version: &str, learn: impl Fn(&mut Served, &dyn Fn(&str) -> bool)) -> Result<(), kube::Error> {
        let kinds = kinds_of(&self.client, version).await.inspect_err(|error| {
            tracing::warn!(%error, version, "cannot ask for an optional API; what was known of it stays");
        })?;
        self.served.send_if_modified(|served| {
            let mut now = served.unwrap_or_default();
            learn(&mut now, &|kind| kinds.iter().any(|served| served == kind));
            let changed = *served != Some(now);
            if changed {
                tracing::info!(?now, "optional APIs");
                *served = Some(now);
            }
            changed
        });
        Ok(())
    }
}

/// The kinds that an API version serves; none if it is not served at all. One whose definition is being deleted counts no more: what is
/// left of it can be seen to its end, but nothing can be made.
pub async fn kinds_of(client: &Client, version: &str) -> Result<Vec<String>, kube::Error> {
    match tokio::time::timeout(ASK_TIMEOUT, client.list_api_group_resources(version)).await {
        Ok(Ok(list)) => {
            let made = list.resources.into_iter().filter(|resource| resource.verbs.iter().any(|verb| verb == "create"));
            Ok(made.map(|resource| resource.kind).collect())
        }
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.code == 404 => Ok(Vec::new()),
        Ok(Err(error)) => Err(error),
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}
