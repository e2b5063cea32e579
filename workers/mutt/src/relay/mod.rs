//! `mutt relay`: rsyslog's omprog lines to the ingest API, confirmed once they are in the relay's spool.

mod confirm;
mod drain;
mod event;
mod pace;
mod post;
mod segment;
mod settings;
mod spool;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
mod trap;
mod variables;

use std::io::{self, BufReader};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::connect;
use crate::worker::{Context, Fatal};

use confirm::{PATIENCE, confirm};
use drain::{BatchLimits, Counts, Drain};
use post::Poster;
pub(crate) use settings::{RelaySettings, ingest_resource};
use spool::Spool;

/// What waits is written to disk this often: as much as a loss of power may take.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// After SIGTERM the spool is drained for this long: below omprog's `closeTimeout` of 5 s. The rest waits on disk.
const DRAIN_AFTER_SIGTERM: Duration = Duration::from_secs(2);
/// Counts are logged this often.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// Runs until SIGTERM, or until standard input has ended and the spool is empty.
pub(crate) async fn run(settings: RelaySettings, context: Context) -> Result<(), Fatal> {
    let opened = Spool::open(&settings.spool_directory, settings.spool_bytes_max);
    let spool = opened.map_err(|error| Fatal::failed("spool", error))?;
    if spool.waiting() > 0 {
        tracing::info!(bytes = spool.waiting(), "events of a former relay wait in the spool");
    }
    let counts = Arc::new(Counts::default());
    let poster = poster(&settings, &context)?;
    let drain = Drain {
        spool: spool.clone(),
        poster,
        limits: BatchLimits { lines: settings.batch_lines, bytes: settings.batch_bytes },
        collector: settings.common.pod_name.clone(),
        directory: settings.spool_directory.clone(),
        counts: Arc::clone(&counts),
    };
    let ended = start_confirming(spool.clone(), settings.common.pod_name.clone())
        .map_err(|error| Fatal::failed("thread", error))?;
    let result = drain_to_the_end(&settings, &context, &drain, ended).await;
    if let Err(error) = spool.sync() {
        tracing::error!(%error, "what waits may not survive a loss of power");
    }
    say(&counts, &spool);
    result.map_err(|error| Fatal::failed("spool", error))
}

/// Drains while lines come, and after that as long as there is hope.
async fn drain_to_the_end(
    settings: &RelaySettings,
    context: &Context,
    drain: &Drain,
    ended: oneshot::Receiver<io::Result<()>>,
) -> io::Result<()> {
    let spool = &drain.spool;
    let draining = drain.run();
    tokio::pin!(draining);
    tokio::select! {
        result = &mut draining => return result,
        () = context.shutdown.requested() => spool.close(),
        result = ended => {
            spool.close();
            match result {
                Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => tracing::error!(%error, "standard input or output failed"),
                Ok(_) => tracing::info!("standard input has ended"),
                Err(_) => tracing::error!("the thread that reads standard input ended"),
            }
        }
        () = say_often(&drain.counts, spool) => {}
        () = sync_often(spool) => {}
    }
    loop {
        let before = spool.waiting();
        let stopping = context.shutdown.is_requested();
        let patience = if stopping { DRAIN_AFTER_SIGTERM } else { settings.common.shutdown_timeout };
        tokio::select! {
            result = timeout(patience, &mut draining) => match result {
                Ok(result) => return result,
                Err(_) if stopping || spool.waiting() == before => {
                    tracing::warn!(bytes = spool.waiting(), "events are left in the spool; the next relay sends them");
                    return Ok(());
                }
                Err(_) => {}
            },
            () = context.shutdown.requested(), if !stopping => {}
        }
    }
}

fn poster(settings: &RelaySettings, context: &Context) -> Result<Poster, Fatal> {
    let mut builder = reqwest::Client::builder()
        .timeout(settings.timeout)
        .connect_timeout(settings.timeout.min(Duration::from_secs(5)))
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .user_agent(concat!("mutt-relay/", env!("CARGO_PKG_VERSION")));
    if settings.url.scheme() == "https" {
        builder = builder.tls_backend_preconfigured(connect::tls_client(settings.ca.as_deref())?);
    } else {
        // Without TLS no certificate is needed, and a machine without any must do.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build().map_err(|error| Fatal::failed("HTTP client", error))?;
    Ok(Poster::new(client, settings.url.to_string(), settings.gzip, context.secrets.clone()))
}

/// A thread of its own: a read of standard input cannot be given up, and rsyslog waits for each answer.
fn start_confirming(spool: Spool, collector: String) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("confirm".to_owned()).spawn(move || {
        let input = BufReader::with_capacity(64 * 1024, io::stdin());
        // The receiver is gone when the process ends anyway.
        let _ = sender.send(confirm(input, io::stdout(), &spool, &collector, PATIENCE));
    })?;
    Ok(receiver)
}

/// Syncs as long as lines come; off this thread, since a disk may take its time.
async fn sync_often(spool: &Spool) {
    let mut ticks = interval(SYNC_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let spool = spool.clone();
        match tokio::task::spawn_blocking(move || spool.sync()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "what waits may not survive a loss of power"),
            Err(error) => tracing::error!(%error, "the sync of the spool failed"),
        }
    }
}

async fn say_often(counts: &Counts, spool: &Spool) {
    let mut ticks = interval(SAY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut before = 0;
    loop {
        ticks.tick().await;
        let accepted = counts.accepted.load(Ordering::Relaxed);
        if accepted != before || spool.waiting() > 0 {
            say(counts, spool);
        }
        before = accepted;
    }
}

fn say(counts: &Counts, spool: &Spool) {
    tracing::info!(
        accepted = counts.accepted.load(Ordering::Relaxed),
        kept_in_dlq_ingest = counts.kept.load(Ordering::Relaxed),
        refused = counts.refused.load(Ordering::Relaxed),
        bytes_waiting = spool.waiting(),
        "events relayed since the start"
    );
}
