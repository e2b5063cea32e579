//! The alerter: takes batches of events, matches them, audits them and pushes what follows. DESIGN section 3.
//!
//! Two threads: the main one runs the lanes (take → decide → COPY → finish), the second one whatever must go on while
//! the main one matches: ports, leases, heartbeat, rules.

mod board;
mod crew;
mod decide;
mod event;
mod finish;
mod janitor;
mod lane;
mod live;
mod metrics;
mod outgoing;
mod reason;
mod second;
mod signatures;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mutt_queue::{Leases, Redis, Role, WorkerId, heartbeat, served_rules};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::connect;
use crate::server::Health;
use crate::settings::{AlerterSettings, Role as SettingsRole};
use crate::worker::{Backoff, Context, Deadline, Fatal, SecondThread, Shutdown};

use board::Board;
use crew::{Crew, CrewParts};
use lane::Lane;
use metrics::Metrics;
use second::Second;

pub(crate) use event::QueuedEvent;

/// Left of the shutdown's time to hand back what did not end, and to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Runs the alerter until the end is asked for. The future is not `Send`: all lanes share one thread.
///
/// # Errors
/// When a port cannot be opened, Redis must not be used, or a thread or task ends that should not.
pub(crate) async fn run(settings: AlerterSettings, context: Context) -> Result<(), Fatal> {
    let metrics = Metrics::new(&context.registry).map_err(|error| Fatal::failed("cannot register metrics", error))?;
    let board = Arc::new(Board::new(Health::new(SettingsRole::Alerter.service()), metrics));
    let keys = connect::keys(&settings.redis);
    let worker = WorkerId::new(&settings.common.pod_name);
    let (end, ending) = Shutdown::channel();
    let (listening, is_listening) = oneshot::channel();
    let second = Second {
        settings: settings.clone(),
        context: context.clone(),
        board: board.clone(),
        keys: keys.clone(),
        worker: worker.clone(),
        end: ending.clone(),
        listening,
    };
    let mut thread = SecondThread::spawn("alerter-second", move || second.run())
        .map_err(|error| Fatal::failed("cannot start the second thread", error))?;
    is_listening.await.map_err(|error| Fatal::failed("the second thread ended", error))??;

    let redis = Redis::new(connect::redis(&settings.redis, &context.secrets));
    let mut database = settings.database.clone();
    database.pool_max = settings.lanes as u32;
    database.pool_min = 0;
    let pool = connect::postgres(&database, &context.secrets, &ending);
    let leases = Leases::new(redis.clone(), keys.clone(), Role::Alerter, worker.clone(), settings.lease);
    let shutdown = context.shutdown.clone();
    let crew = Crew::new(CrewParts { board, redis, keys, leases, pool, shutdown }, &settings);

    let outcome = tokio::select! {
        ended = work(&crew, &settings, &worker) => ended,
        () = thread.ended() => Err(Fatal::Refused("the second thread ended".to_owned())),
    };
    crew.board.health.set_ready(false);
    // First the thread that keeps saying that this worker is there, so that nothing is said after the goodbye.
    end.request();
    drop(timeout(GOODBYE / 2, thread.ended()).await);
    drop(timeout(GOODBYE / 2, goodbye(&crew, &worker)).await);
    outcome
}

async fn work(crew: &Crew, settings: &AlerterSettings, worker: &WorkerId) -> Result<(), Fatal> {
    tokio::select! {
        ready = prepare(crew, worker) => ready?,
        () = crew.shutdown.requested() => return Ok(()),
    }
    // Only the lanes that are woken are polled.
    let lanes: FuturesUnordered<_> = (0..settings.lanes).map(|_| Lane::new(crew).run()).collect();
    let lanes = lanes.collect::<Vec<()>>();
    // A takeover under way is seen to its end, too: what it takes is handed back.
    let done = async { tokio::join!(lanes, janitor::run(crew, settings.lease, settings.lanes)) };
    let drained = async {
        crew.shutdown.requested().await;
        crew.board.health.set_ready(false);
        let deadline = Deadline::after(settings.common.shutdown_timeout);
        tokio::time::sleep(deadline.left().saturating_sub(GOODBYE)).await;
    };
    tokio::select! {
        _ = done => {}
        () = drained => tracing::warn!(batches = crew.board.leases().len(), "not drained in time; batches are handed back"),
        () = live::follow(crew, live::limits(settings)) => {}
        () = live::turn(crew) => {}
    }
    Ok(())
}

/// Waits for Redis, refuses one that would lose events, and writes the first heartbeat before the first take.
async fn prepare(crew: &Crew, worker: &WorkerId) -> Result<(), Fatal> {
    let mut backoff = Backoff::new();
    loop {
        match crew.redis.preflight().await {
            Ok(seen) => {
                seen.check().map_err(|refusal| Fatal::Refused(refusal.to_string()))?;
                for warning in seen.warnings() {
                    tracing::warn!("{warning}");
                }
                let started = jiff::Timestamp::now().to_string();
                match heartbeat::beat(&crew.redis, &crew.keys, Role::Alerter, worker, &started).await {
                    Ok(()) => return Ok(()),
                    Err(error) => crew.board.redis.down(error),
                }
            }
            Err(error) => crew.board.redis.down(error),
        }
        backoff.wait().await;
    }
}

/// Hands back what is still held, and takes the worker off the lists.
async fn goodbye(crew: &Crew, worker: &WorkerId) {
    // As Redis sees it: the answer to a take that was under way at the deadline may never have been seen here.
    for lease in crew.leases.own().await.unwrap_or_else(|_| crew.board.leases()) {
        crew.board.release(&lease);
        drop(crew.leases.hand_back(&lease).await);
    }
    drop(served_rules::forget(&crew.redis, &crew.keys, worker).await);
    drop(heartbeat::stop(&crew.redis, &crew.keys, Role::Alerter, worker).await);
}
