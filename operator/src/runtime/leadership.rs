//! From a started process to one that may write: the API server answers, the custom resources are there, the Lease is ours.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Context, Shutdown,
    discovery::kinds_of,
    lease::{Candidate, LeaseLost},
};

/// How often the API server is asked while something is missing.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// The version of our own kinds in group `mutt.dev`.
pub const OWN_VERSION: &str = "v1alpha1";
/// Our own kinds.
pub const OWN_KINDS: [&str; 2] = ["MuttPipeline", "AlertRule"];
const PREREQUISITES: &str = "custom resources";

/// Whether this process may write. Cheap to clone.
#[derive(Clone)]
pub struct Leadership(watch::Receiver<bool>);

impl Leadership {
    /// Runs `work` as soon as this process may write. Returns when it ends, or when the end is asked for before.
    pub async fn then<E>(mut self, shutdown: Shutdown, work: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let leads = async { self.0.wait_for(|leads| *leads).await.is_ok() };
        match shutdown.or(leads).await {
            Some(true) => work.await,
            // The seeker has ended without success; the supervisor knows why.
            Some(false) => std::future::pending().await,
            None => Ok(()),
        }
    }
}

/// Seeks leadership and keeps it.
pub struct Seeker {
    context: Arc<Context>,
    leads: watch::Sender<bool>,
}

/// The seeker and what it reaches.
pub fn seek(context: Arc<Context>) -> (Seeker, Leadership) {
    let (leads, leadership) = watch::channel(false);
    context.health.wait_for(PREREQUISITES, "the API server has not been asked yet");
    (Seeker { context, leads }, Leadership(leadership))
}

impl Seeker {
    /// Ends well when asked to, after the Lease is given back; badly when the Lease is lost.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), LeaseLost> {
        if shutdown.or(self.prerequisites()).await.is_none() {
            return Ok(());
        }
        let Some(candidate) = Candidate::of(&self.context) else {
            tracing::warn!("no leader election: this must be the only replica");
            self.leads();
            shutdown.requested().await;
            return Ok(());
        };
        let Some(held) = shutdown.or(candidate.acquire()).await else { return Ok(()) };
        tracing::info!(lease = candidate.name, identity = candidate.identity, "leads");
        self.leads();
        let (lease, note) = (held.reference(), format!("{} leads", candidate.identity));
        let says = self.context.events.normal(&lease, "LeaderElection", "Lead", &note);
        // Dropped after a while: a slow API server must not keep the Lease from being renewed.
        let _ = tokio::time::timeout(candidate.duration / 6, says).await;
        let kept = candidate.keep(held, &self.context.metrics, &shutdown).await;
        self.context.metrics.leader.set(0);
        candidate.release(kept?).await;
        Ok(())
    }

    fn leads(&self) {
        self.context.metrics.leader.set(1);
        self.leads.send_replace(true);
    }

    /// Waits until the API server answers and serves our kinds. A missing one is said, not died of: the charts may be
    /// installed in any order.
    async fn prerequisites(&self) {
        let own_api = format!("mutt.dev/{OWN_VERSION}");
        let mut said = String::new();
        loop {
            let trouble = match kinds_of(&self.context.client, &own_api).await {
                Ok(served) => OWN_KINDS
                    .iter()
                    .find(|kind| !served.iter().any(|served| served == *kind))
                    .map(|kind| format!("{kind} of {own_api} is not installed; install charts/mutt-crds")),
                Err(error) => Some(format!("the API server does not answer: {error}")),
            };
            let trouble = match trouble {
                None => match self.context.apis.refresh().await {
                    Ok(()) => break,
                    Err(error) => format!("cannot ask for the optional APIs: {error}"),
                },
                Some(trouble) => trouble,
            };
            if trouble != said {
                tracing::error!("{trouble}; trying again");
                said.clone_from(&trouble);
            }
            self.context.health.wait_for(PREREQUISITES, trouble);
            tokio::time::sleep(ASK_EVERY).await;
        }
        self.context.health.done(PREREQUISITES);
    }
}
