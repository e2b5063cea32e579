//! From a started process to one that may write: the API server answers, the custom resources are there, the Lease is
//! ours. The controllers live for one term of leadership. A lost Lease ends them, not the process: an API server that was
//! away for a minute must not leave the operator in kubelet's growing back-off.

use std::{pin::pin, time::Duration};

use tokio::time::timeout;

use super::{
    Context, Fatal, Shutdown,
    discovery::kinds_of,
    lease::{Candidate, Held, LeaseLost},
    supervise::Tasks,
};

/// How often the API server is asked while something is missing.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How long the optional APIs are waited for: one of another project that is out of order must not keep us from our work.
const OPTIONAL_WITHIN: Duration = Duration::from_secs(5);
/// The version of our own kinds in group `mutt.dev`.
pub const OWN_VERSION: &str = "v1alpha1";
/// Our own kinds.
pub const OWN_KINDS: [&str; 2] = ["MuttPipeline", "AlertRule"];
const PREREQUISITES: &str = "custom resources";

/// Seeks leadership, again and again, and runs the tasks that `work` starts in each term of it. `Ok` after the end was asked
/// for, with the Lease given back; `Err` when one of the tasks ended unasked.
pub async fn lead(context: &Context, shutdown: &Shutdown, work: impl Fn() -> Tasks) -> Result<(), Fatal> {
    context.health.wait_for(PREREQUISITES, "the API server has not been asked yet");
    if shutdown.or(prerequisites(context)).await.is_none() {
        return Ok(());
    }
    let Some(candidate) = Candidate::of(context) else {
        tracing::warn!("no leader election: this must be the only replica");
        context.metrics.leader.set(1);
        return work().run(shutdown).await;
    };
    loop {
        let Some(held) = shutdown.or(candidate.acquire(&context.health)).await else { return Ok(()) };
        match term(context, shutdown, &candidate, held, work()).await {
            Ok(ended) => return ended,
            Err(lost) => tracing::error!(lease = candidate.name, "{lost}; all work is stopped until it is ours again"),
        }
    }
}

/// One term: the work, and the Lease around it. Outer `Err` = the Lease was lost, and no work is left.
async fn term(
    context: &Context,
    shutdown: &Shutdown,
    candidate: &Candidate,
    held: Held,
    mut work: Tasks,
) -> Result<Result<(), Fatal>, LeaseLost> {
    tracing::info!(lease = candidate.name, identity = candidate.identity, "leads");
    context.metrics.leader.set(1);
    announce(context, candidate, &held).await;
    let (release, released) = Shutdown::channel();
    let mut keep = pin!(candidate.keep(held, &context.metrics, &released));
    let outcome = tokio::select! {
        biased;
        kept = keep.as_mut() => Err(kept),
        ended = work.run(shutdown) => Ok(ended),
    };
    // If the Lease is lost, no further write may start; else it must cover the last one.
    work.abort().await;
    context.metrics.leader.set(0);
    // The next leader tells of the rules; what this one knew would be counted twice, and grows old.
    context.metrics.forget_rules();
    context.rules.clear();
    context.external_metrics.forget();
    context.metrics.external_metrics_serving.set(0);
    context.health.wait_for_nothing();
    match outcome {
        Ok(ended) => {
            release.request();
            if let Ok(held) = keep.await {
                candidate.release(held).await;
            }
            Ok(ended)
        }
        Err(kept) => kept.map(|_| Ok(())),
    }
}

/// An Event on the Lease. Given up after a while: a slow API server must not keep the Lease from being renewed.
async fn announce(context: &Context, candidate: &Candidate, held: &Held) {
    let (lease, note) = (held.reference(), format!("{} leads", candidate.identity));
    let says = context.events.normal(&lease, "LeaderElection", "Lead", &note);
    // Without the Event, the log and the metric say the same.
    let _ = timeout(candidate.duration / 6, says).await;
}

/// Waits until the API server answers and serves our kinds. A missing one is said, not died of: the charts may be
/// installed in any order.
async fn prerequisites(context: &Context) {
    let own_api = format!("mutt.dev/{OWN_VERSION}");
    let mut said = String::new();
    loop {
        let trouble = match kinds_of(&context.client, &own_api).await {
            Ok(served) => OWN_KINDS
                .iter()
                .find(|kind| !served.iter().any(|served| served == *kind))
                .map(|kind| format!("{kind} of {own_api} is not installed; install charts/mutt-crds")),
            Err(error) => Some(format!("the API server does not answer: {error}")),
        };
        let Some(trouble) = trouble else { break };
        if trouble != said {
            tracing::error!("{trouble}; trying again");
            said.clone_from(&trouble);
        }
        context.health.wait_for(PREREQUISITES, trouble);
        tokio::time::sleep(ASK_EVERY).await;
    }
    if timeout(OPTIONAL_WITHIN, context.apis.refresh()).await.is_err() {
        tracing::warn!("not all optional APIs have answered yet; they are asked again later");
    }
    context.health.done(PREREQUISITES);
}
