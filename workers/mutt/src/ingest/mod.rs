//! The ingestor role: HTTP in, group commit to Redis. DESIGN section 3, CONTRACT section 1.
//!
//! A request goes http (checks) → body → decode → split/scan → parse (elements) → commit → answer.

mod answer;
mod body;
mod commit;
mod decode;
mod gate;
mod http;
mod ids;
mod kept;
mod lane;
mod metrics;
mod moment;
mod parse;
mod reason;
mod reject;
mod scan;
mod sources;
mod split;
mod take;
mod validate;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use mutt_queue::{Ack as QueueAck, Pusher, Redis, WorkerId};
use mutt_secrets::{SecretName, Secrets};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::connect;
use crate::server::{Health, Limits, Peer, Tls, bind, serve};
use crate::settings::{Ack, Fault, Faults, IngestorSettings, Role};
use crate::worker::{Context, Fatal, Shutdown};

use commit::{Committer, QueueLink};
use gate::Gate;
use http::IngestService;
use lane::{Lane, Shared};
use metrics::Metrics;
use scan::Known;
use sources::SourceLimiter;

/// A sender that takes longer for a request's head is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Of the shutdown's time, kept for the last pushes after the last connection.
const LAST_PUSHES: Duration = Duration::from_secs(2);

/// Runs the ingestor until the end is asked for and every accepted request is answered.
///
/// # Errors
/// When no key is set, the port cannot be opened, or this Redis must not be used.
pub(crate) async fn run(settings: IngestorSettings, context: Context) -> Result<(), Fatal> {
    check_keys(&context.secrets)?;
    let listener = bind(settings.port).await?;
    run_on(listener, settings, context).await
}

/// The same on a port that is open already.
async fn run_on(listener: TcpListener, settings: IngestorSettings, context: Context) -> Result<(), Fatal> {
    let tls = Tls::load_optional(settings.common.tls.as_ref(), &context.registry)?;
    let health = Health::new(Role::Ingestor.service());
    let redis_up = health.dependency("redis");
    let lane = Arc::new(lane(&settings, &context, health.clone())?);
    tracing::info!(address = ?listener.local_addr().ok(), tls = tls.is_some(), "ingest API listens");

    let (end_commits, commits_end) = Shutdown::channel();
    let committing = tokio::spawn({
        let lane = lane.clone();
        async move { lane.committer.run(&lane.queue, commits_end).await }
    });
    if let Some(tls) = tls.clone() {
        tokio::spawn(tls.watch(context.shutdown.clone()));
    }
    health.set_ready(true);
    let limits = Limits {
        connections: settings.max_connections,
        header: HEADER_TIMEOUT,
        drain: settings.common.shutdown_timeout.saturating_sub(LAST_PUSHES),
    };
    let make = {
        let lane = lane.clone();
        move |Peer(address)| IngestService { lane: lane.clone(), source: address.ip().to_canonical() }
    };
    let draining = {
        let (health, shutdown) = (health.clone(), context.shutdown.clone());
        async move {
            shutdown.requested().await;
            health.set_ready(false);
            std::future::pending::<()>().await;
        }
    };
    let served = tokio::select! {
        () = serve(listener, tls, limits, context.shutdown.clone(), make) => Ok(()),
        fatal = watch::watch(&lane, &settings, &redis_up) => Err(fatal),
        () = draining => Ok(()),
    };
    end_commits.request();
    if let Ok(ended) = timeout(LAST_PUSHES, committing).await {
        ended.map_err(|error| Fatal::failed("the group commit ended early", error))?;
    } else {
        tracing::warn!("a push is still without an answer; nobody waits for it any more");
    }
    served
}

/// Without a key nobody could send, and there is never a default one.
fn check_keys(secrets: &Secrets) -> Result<(), Fatal> {
    let names = [SecretName::IngestApiKey, SecretName::IngestApiKeyNext];
    if names.into_iter().any(|name| secrets.get(name).is_some()) {
        return Ok(());
    }
    let what = "needed (or INGEST_API_KEY_FILE): without it nobody could send, and there is no default";
    Err(Fatal::Settings(Faults(vec![Fault::new("INGEST_API_KEY", what.to_owned())])))
}

fn lane(settings: &IngestorSettings, context: &Context, health: Health) -> Result<Lane, Fatal> {
    let metrics = Metrics::new(&context.registry).map_err(|error| Fatal::failed("cannot register metrics", error))?;
    let metrics = Arc::new(metrics);
    let gate = Arc::new(Gate::new(settings.max_queue_size));
    let mut redis_settings = connect::redis(&settings.redis, &context.secrets);
    // The answer to a push, then a look for it if it is lost: both must fit into INGEST_PUSH_TIMEOUT.
    redis_settings.response_timeout = settings.push_timeout / 2;
    redis_settings.connect_timeout = redis_settings.connect_timeout.min(settings.push_timeout / 2);
    let ack_timeout = settings.push_timeout / 3;
    let redis = Redis::new(redis_settings);
    let keys = connect::keys(&settings.redis);
    let worker = WorkerId::new(&settings.common.pod_name);
    let ack = match settings.ack {
        Ack::Memory => QueueAck::Memory,
        Ack::Fsync => QueueAck::Fsync,
        Ack::Replica(count) => QueueAck::Replicas(count),
    };
    let pusher = Pusher::new(redis.clone(), keys.clone(), &worker, ack, ack_timeout);
    let shared = Shared {
        known: Known::new(settings.required_fields.iter().map(String::as_str)),
        body_bytes_max: settings.max_body_bytes,
        dlq_max: settings.dlq_max,
        secrets: context.secrets.clone(),
        gate: gate.clone(),
        sources: settings.source_limit.map(|limit| SourceLimiter::new(limit.events, limit.window)),
        metrics: metrics.clone(),
        health,
        registry: context.registry.clone(),
        large: Semaphore::new(body::LARGE_AT_ONCE),
        checked: AtomicBool::new(false),
    };
    let redis = QueueLink { pusher, redis, keys, gate: gate.clone(), timeout: settings.push_timeout };
    Ok(Lane { shared: Arc::new(shared), committer: Committer::new(gate, metrics), queue: redis })
}
