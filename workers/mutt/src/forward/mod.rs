//! The forwarder role: alerts to the webhook within the shared rate limit. DESIGN section 3.
//!
//! Two threads: the main one takes, posts and finishes (`engine`), the second one does what must go on
//! whatever the main one does: ports, heartbeat, janitor, gauges, settings changed at run time.

mod backoff;
mod client;
mod delivery;
mod engine;
mod live;
mod metrics;
mod payload;
mod second;
#[cfg(test)]
mod tests;
mod verdict;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mutt_queue::moog::MoogQueue;
use mutt_queue::{Doorbell, Keys, Redis, Role, WorkerId, heartbeat};
use mutt_secrets::{SecretName, Secrets};
use sha2::{Digest, Sha256};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::connect;
use crate::server::{Dependency, Health};
use crate::settings::{Fault, Faults, ForwarderSettings, Role as SettingsRole};
use crate::worker::{Backoff, Context, Fatal, SecondThread, Shutdown};

use client::WebhookClient;
use delivery::Credentials;
use engine::{Bell, Engine, Setup};
use metrics::Metrics;
use second::Second;

/// A lease outlives the POST by this much: the result must still reach Redis.
const LEASE_GRACE: Duration = Duration::from_secs(10);
/// One wait for the bell; in between, due retries and changed settings are looked at.
const BELL_WAIT: Duration = Duration::from_secs(1);
/// Time for saying goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How often and how soon a failed alert is tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retries {
    /// Attempts after the first.
    pub(crate) attempts_max: u32,
    /// Wait before the first retry.
    pub(crate) base: Duration,
    /// Longest wait of our own.
    pub(crate) max: Duration,
    /// Between probes of a pause.
    pub(crate) pause_probe: Duration,
}

/// Runs the forwarder until the end is asked for. The future is not `Send`.
///
/// # Errors
/// When MOOG_API_KEY is missing, a port cannot be opened, or Redis must not be used.
pub(crate) async fn run(settings: ForwarderSettings, context: Context) -> Result<(), Fatal> {
    if context.secrets.get(SecretName::MoogApiKey).is_none() {
        let what = "required: the bearer token of the webhook (or MOOG_API_KEY_FILE)".to_owned();
        return Err(Fatal::Settings(Faults(vec![Fault::new("MOOG_API_KEY", what)])));
    }
    let health = Health::new(SettingsRole::Forwarder.service());
    let redis_state = health.dependency("redis");
    let metrics =
        Metrics::register(&context.registry).map_err(|error| Fatal::failed("cannot register metrics", error))?;
    let keys = connect::keys(&settings.redis);
    let worker = WorkerId::new(&settings.common.pod_name);
    let (live_sender, live) = watch::channel(live::from_settings(&settings));
    let (end, ending) = Shutdown::channel();
    let (listening, is_listening) = oneshot::channel();
    let second = Second {
        settings: settings.clone(),
        context: context.clone(),
        health: health.clone(),
        redis_state: redis_state.clone(),
        metrics: metrics.clone(),
        keys: keys.clone(),
        worker: worker.clone(),
        live: live_sender,
        end: ending,
        listening,
    };
    let mut thread = SecondThread::spawn("forwarder-second", move || second.run())
        .map_err(|error| Fatal::failed("cannot start the second thread", error))?;
    is_listening.await.map_err(|error| Fatal::failed("the second thread ended", error))??;

    let redis = Redis::new(connect::redis(&settings.redis, &context.secrets));
    let setup = Setup {
        queue: MoogQueue::new(redis.clone(), keys.clone(), worker.clone()),
        client: webhook(&settings)?,
        retries: retries(&settings),
        concurrency: settings.concurrency,
        lease: settings.lease.max(settings.webhook_timeout + LEASE_GRACE),
        webhook_timeout: settings.webhook_timeout,
        metrics,
        redis: redis_state.clone(),
        credentials: credentials(context.secrets.clone(), settings.webhook_url.to_string()),
    };
    let outcome = tokio::select! {
        done = work(setup, live, &redis, &keys, &worker, &settings, &context.shutdown, &health) => done,
        () = thread.ended() => Err(Fatal::Refused("the second thread ended".to_owned())),
    };
    health.set_ready(false);
    // First the thread that keeps saying that this worker is there, so that nothing is said after the goodbye.
    end.request();
    drop(timeout(GOODBYE, thread.ended()).await);
    drop(timeout(GOODBYE, goodbye(&redis, &keys, &worker)).await);
    outcome
}

#[allow(clippy::too_many_arguments, reason = "the wiring of one call site")]
async fn work(
    setup: Setup,
    live: watch::Receiver<live::Live>,
    redis: &Redis,
    keys: &Arc<Keys>,
    worker: &WorkerId,
    settings: &ForwarderSettings,
    shutdown: &Shutdown,
    health: &Health,
) -> Result<(), Fatal> {
    let says = live.borrow().beat(&delivery::timestamp());
    tokio::select! {
        ready = prepare(redis, keys, worker, &setup.redis, &says) => ready?,
        () = shutdown.requested() => return Ok(()),
    }
    health.set_ready(true);
    let bell = Bell::default();
    let engine = Engine::new(setup, live, bell.clone());
    let stop = async {
        shutdown.requested().await;
        health.set_ready(false);
    };
    tokio::select! {
        () = engine.run(stop, settings.common.shutdown_timeout.saturating_sub(2 * GOODBYE), || health.turn()) => {}
        () = ring(Doorbell::new(redis, keys.alert_queue.clone()), bell) => {}
    }
    Ok(())
}

/// Waits for Redis, refuses one that would lose alerts, and writes the first heartbeat before the first take.
async fn prepare(redis: &Redis, keys: &Keys, worker: &WorkerId, state: &Dependency, says: &str) -> Result<(), Fatal> {
    let mut backoff = Backoff::new();
    loop {
        match redis.preflight().await {
            Ok(seen) => {
                seen.check().map_err(|refusal| Fatal::Refused(refusal.to_string()))?;
                for warning in seen.warnings() {
                    tracing::warn!("{warning}");
                }
                match heartbeat::beat(redis, keys, Role::Moog, worker, says).await {
                    Ok(()) => return Ok(()),
                    Err(error) => state.down(error),
                }
            }
            Err(error) => state.down(error),
        }
        backoff.wait().await;
    }
}

/// Lets go of what could not be given back, and takes the worker off the lists.
async fn goodbye(redis: &Redis, keys: &Arc<Keys>, worker: &WorkerId) {
    match MoogQueue::new(redis.clone(), keys.clone(), worker.clone()).leave().await {
        Ok(0) => {}
        Ok(alerts) => tracing::warn!(alerts, "not ended in time: left to the next janitor"),
        Err(error) => tracing::warn!(%error, "leases are left to lapse"),
    }
    drop(heartbeat::stop(redis, keys, Role::Moog, worker).await);
}

/// Waits on a connection of its own whenever the engine found the queue empty.
async fn ring(mut doorbell: Doorbell, bell: Bell) {
    loop {
        bell.armed.notified().await;
        if let Err(error) = doorbell.wait(BELL_WAIT).await {
            tracing::debug!(%error, "doorbell");
            tokio::time::sleep(BELL_WAIT).await;
        }
        bell.rung.notify_one();
    }
}

fn webhook(settings: &ForwarderSettings) -> Result<WebhookClient, Fatal> {
    let tls = if settings.webhook_url.scheme() == "https" {
        connect::tls_client(settings.webhook_ca.as_deref())?
    } else {
        // Never used; the system's certificates need not be loaded for it.
        rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
    };
    WebhookClient::new(settings.webhook_url.clone(), settings.webhook_timeout, settings.concurrency, tls)
        .map_err(|error| Fatal::failed("cannot set up the webhook's client", error))
}

fn retries(settings: &ForwarderSettings) -> Retries {
    Retries {
        attempts_max: settings.max_retries,
        base: settings.retry_base,
        max: settings.retry_max,
        pause_probe: settings.pause_probe,
    }
}

/// Key and fingerprint of the moment. The fingerprint lies in Redis during a pause: 32 bits of a digest
/// tell whether the key changed, and fit far too many keys to tell which it is.
fn credentials(secrets: Secrets, url: String) -> Box<dyn Fn() -> Credentials + Send + Sync> {
    let last: Mutex<Option<Credentials>> = Mutex::new(None);
    Box::new(move || {
        let secret = secrets.get(SecretName::MoogApiKey);
        let key = secret.as_ref().map_or("", |secret| secret.expose());
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(same) if same.key == key => same.clone(),
            _ => {
                let digest = Sha256::digest(format!("{url}\0{key}"));
                let fingerprint = mutt_rules::hex(&digest[..4]);
                last.insert(Credentials { key: key.to_owned(), fingerprint }).clone()
            }
        }
    })
}
