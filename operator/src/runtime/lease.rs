//! Who of several replicas may write: a `coordination.k8s.io/v1` Lease, as client-go's leader election uses it.
//!
//! Own code, because kube has none and kube-lease-manager 0.13.1 (read) compares the holder's wall clock with its own,
//! patches without a resourceVersion, so that two can win, and renews with no bound on how long it believes itself leader.
//!
//! - Every write carries the resourceVersion that it was decided on: of two writers, one gets a 409.
//! - Another's Lease has lapsed when we have not *seen it change* for its duration, by our monotonic clock; the times in it
//!   are for people.
//! - A holder counts from before its last successful renewal was sent and gives up after two thirds of the duration. The
//!   last third is for requests that are on their way when it does.

use std::time::Duration;

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Resource, api::PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{Context, Shutdown, health::Health, metrics::Metrics};

/// How often a standby looks, and how soon a failed renewal is repeated. Kept below the longest that a graceful
/// hand-over may take.
const LOOK_EVERY: Duration = Duration::from_millis(1_000);

/// What readiness waits for here.
const LEASE: &str = "leader election";

/// One replica's candidature.
pub struct Candidate {
    /// The Lease's namespace.
    pub api: Api<Lease>,
    /// The Lease's name.
    pub name: String,
    /// This process, different from every other that ever ran: a restarted container is another one.
    pub identity: String,
    /// How long others wait if this one falls silent.
    pub duration: Duration,
}

/// The Lease is no longer ours.
#[derive(Debug, thiserror::Error)]
pub enum LeaseLost {
    /// Somebody else holds it.
    #[error("the Lease is lost to {0:?}")]
    Taken(String),
    /// It could not be renewed and may lapse for the others.
    #[error("the Lease could not be renewed in time: {0}")]
    Silent(String),
}

/// The Lease as seen by a candidate.
struct Seen {
    lease: Lease,
    /// When it was first seen in this state.
    since: Instant,
}

/// A Lease that is ours until `renewed` + two thirds of its duration.
pub struct Held {
    lease: Lease,
    renewed: Instant,
}

impl Held {
    /// The Lease, as Events name it.
    pub fn reference(&self) -> ObjectReference {
        self.lease.object_ref(&())
    }
}

impl Candidate {
    /// This process, as its arguments name it; `None` = without leader election.
    pub fn of(context: &Context) -> Option<Self> {
        let args = &context.args;
        let election = args.election.as_ref()?;
        let namespace = election.lease_namespace.as_deref().or(args.pod_namespace.as_deref());
        Some(Self {
            api: Api::namespaced(context.client.clone(), namespace.unwrap_or(context.client.default_namespace())),
            name: election.lease_name.clone(),
            identity: format!("{}_{:08x}", args.pod_name, fastrand::u32(..)),
            duration: election.lease_duration,
        })
    }

    /// Waits until this process leads. Not ready while the Lease cannot be read or written: such a standby could never lead.
    pub async fn acquire(&self, health: &Health) -> Held {
        let mut seen: Option<Seen> = None;
        let mut said = None;
        loop {
            let state = match self.look(&mut seen).await {
                Ok(Some(held)) => {
                    health.done(LEASE);
                    return held;
                }
                Ok(None) => Ok(seen.as_ref().and_then(|seen| holder(&seen.lease)).map(str::to_owned)),
                Err(error) => Err(error.to_string()),
            };
            match &state {
                Ok(_) => health.done(LEASE),
                Err(trouble) => health.wait_for(LEASE, trouble),
            }
            if said.as_ref() != Some(&state) {
                match &state {
                    Ok(holder) => tracing::info!(holder, lease = self.name, "waiting for the Lease"),
                    Err(trouble) => {
                        tracing::warn!(trouble, lease = self.name, "cannot ask for the Lease; trying again");
                    }
                }
                said = Some(state);
            }
            sleep(jittered(LOOK_EVERY)).await;
        }
    }

    /// One look at the Lease, which is taken if it may be.
    async fn look(&self, seen: &mut Option<Seen>) -> Result<Option<Held>, kube::Error> {
        let lease = match timeout(self.attempt(), self.api.get_opt(&self.name)).await {
            Ok(lease) => lease?,
            Err(elapsed) => return Err(kube::Error::Service(elapsed.into())),
        };
        // Deleted under its holder, who may write until its time is over.
        let orphaned = lease.is_none() && seen.as_ref().is_some_and(|seen| !self.may_take(seen));
        if orphaned {
            return Ok(None);
        }
        *seen = Seen::update(seen.take(), lease);
        self.take(seen.as_ref()).await
    }

    /// Takes the Lease if it is free: `None` = it is not, or another was faster.
    async fn take(&self, seen: Option<&Seen>) -> Result<Option<Held>, kube::Error> {
        let sent = Instant::now();
        let write = async {
            match seen {
                None => self.api.create(&PostParams::default(), &self.new_lease()).await,
                Some(seen) if self.may_take(seen) => {
                    self.api.replace(&self.name, &PostParams::default(), &self.taken(&seen.lease)).await
                }
                Some(_) => return Ok(None),
            }
            .map(Some)
        };
        match timeout(self.attempt(), write).await {
            Ok(Ok(lease)) => Ok(lease.map(|lease| Held { lease, renewed: sent })),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
        }
    }

    /// Renews until the end is asked for. The Lease is ours on `Ok`; on `Err` nothing may be written any more.
    pub async fn keep(&self, mut held: Held, metrics: &Metrics, shutdown: &Shutdown) -> Result<Held, LeaseLost> {
        loop {
            let due = held.renewed + self.duration / 3;
            if shutdown.or(sleep_until(due)).await.is_none() {
                return Ok(held);
            }
            held = self.renew(held).await?;
            metrics.lease_renewals.inc();
        }
    }

    /// One renewal, tried until it succeeds or until the Lease could lapse.
    async fn renew(&self, held: Held) -> Result<Held, LeaseLost> {
        let until = held.renewed + self.duration * 2 / 3;
        let mut lease = held.lease;
        let mut trouble = "no answer from the API server".to_owned();
        loop {
            let sent = Instant::now();
            if sent >= until {
                return Err(LeaseLost::Silent(trouble));
            }
            let attempt_until = until.min(sent + self.attempt());
            match timeout_at(attempt_until, self.write_renewal(&lease)).await {
                Ok(Ok(Renewal::Done(lease))) => return Ok(Held { lease, renewed: sent }),
                Ok(Ok(Renewal::Changed(newer))) => {
                    // An annotation, or our own write whose answer was lost.
                    lease = newer;
                    continue;
                }
                Ok(Ok(Renewal::Taken(holder))) => return Err(LeaseLost::Taken(holder)),
                Ok(Err(error)) => trouble = error.to_string(),
                Err(_) => "no answer from the API server".clone_into(&mut trouble),
            }
            tracing::warn!(reason = trouble, lease = self.name, "the Lease is not renewed yet");
            sleep_until(until.min(Instant::now() + jittered(LOOK_EVERY))).await;
        }
    }

    async fn write_renewal(&self, lease: &Lease) -> Result<Renewal, kube::Error> {
        let mut renewed = lease.clone();
        let spec = renewed.spec.get_or_insert_default();
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        match self.api.replace(&self.name, &PostParams::default(), &renewed).await {
            Ok(lease) => Ok(Renewal::Done(lease)),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                match self.api.get_opt(&self.name).await? {
                    Some(newer) if holder(&newer) == Some(self.identity.as_str()) => Ok(Renewal::Changed(newer)),
                    Some(newer) => Ok(Renewal::Taken(holder(&newer).unwrap_or_default().to_owned())),
                    // Deleted by somebody: whoever creates it has it.
                    None => Ok(Renewal::Done(self.api.create(&PostParams::default(), &self.new_lease()).await?)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Empties the holder, so that a standby need not wait. A failure costs one duration, no more.
    pub async fn release(&self, held: Held) {
        let mut lease = held.lease;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        match timeout(self.attempt(), self.api.replace(&self.name, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.name, "the Lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "cannot give the Lease back"),
            Err(_) => tracing::warn!(lease = self.name, "cannot give the Lease back: no answer"),
        }
    }

    /// Whether nobody holds it, or we do (the answer to our taking was lost), or its holder's time is over.
    fn may_take(&self, seen: &Seen) -> bool {
        let Some(holder) = holder(&seen.lease) else { return true };
        let promised = seen.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let promised =
            promised.and_then(|seconds| u64::try_from(seconds).ok()).map_or(self.duration, Duration::from_secs);
        holder == self.identity || seen.since.elapsed() > promised
    }

    /// Bound of one request: a hanging connection must leave time for another one.
    fn attempt(&self) -> Duration {
        self.duration / 6
    }

    fn new_lease(&self) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        self.taken(&Lease { metadata, spec: None })
    }

    fn taken(&self, lease: &Lease) -> Lease {
        let now = Timestamp::now();
        let transitions = lease.spec.as_ref().map(|spec| spec.lease_transitions.unwrap_or(0).saturating_add(1));
        let mut taken = lease.clone();
        taken.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs())
                .ok()
                .filter(|seconds| *seconds > 0)
                .or(Some(1)),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: transitions.or(Some(0)),
            ..LeaseSpec::default()
        });
        taken
    }
}

enum Renewal {
    Done(Lease),
    Changed(Lease),
    Taken(String),
}

impl Seen {
    fn update(before: Option<Self>, lease: Option<Lease>) -> Option<Self> {
        let lease = lease?;
        let since = match before {
            Some(before) if before.lease.metadata.resource_version == lease.metadata.resource_version => before.since,
            _ => Instant::now(),
        };
        Some(Self { lease, since })
    }
}

/// Who holds it; `None` = nobody.
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Three quarters to all of it, so that replicas started together do not ask together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + 0.25 * fastrand::f64())
}
