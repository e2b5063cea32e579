//! What every role shares as a process: its end, its signals, its second thread, and how it fails.

use std::{
    error::Error,
    future::Future,
    thread,
    time::{Duration, Instant},
};

use mutt_secrets::Secrets;
use prometheus::Registry;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
};

use crate::settings::Faults;

/// Why a command or a role ends unsuccessfully. The text is what a person reads at 3 a.m.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    /// The settings are wrong.
    #[error("{0}")]
    Settings(#[from] Faults),
    /// A port cannot be opened.
    #[error("cannot listen on port {port}: {source}; is another process using it? (`ss -ltnp`)")]
    Listen {
        /// The port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// The environment is such that MUTT must not run in it.
    #[error("{0}")]
    Refused(String),
    /// The command found faults in what it was given and has listed them.
    #[error("{0}")]
    Findings(String),
    /// Something needed failed.
    #[error("{what}: {source}")]
    Failed {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Fatal {
    /// A failure of `what`.
    pub(crate) fn failed(what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    /// sysexits(3): 64 wrong settings, 69 something needed is unavailable, 78 must not run so; 1 findings.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => 64,
            Self::Listen { .. } | Self::Failed { .. } => 69,
            Self::Refused(_) => 78,
            Self::Findings(_) => 1,
        }
    }
}

/// What a role is given by whoever starts it: the command line, or `mutt dev`, which starts several.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) secrets: Secrets,
    /// Metrics of this role alone.
    pub(crate) registry: Registry,
    pub(crate) shutdown: Shutdown,
    pub(crate) reload: Reload,
}

/// Tells a role that it should drain and end.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

/// Asks for the end.
#[derive(Clone, Debug)]
pub(crate) struct ShutdownTrigger(watch::Sender<bool>);

impl Shutdown {
    /// A pair: who asks, who is asked.
    pub(crate) fn channel() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// Returns once the end is asked for (or the asker is gone).
    pub(crate) async fn requested(&self) {
        // An error means that the trigger is gone, which asks for the end too.
        let _ = self.0.clone().wait_for(|requested| *requested).await;
    }

    /// Whether the end was asked for.
    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl ShutdownTrigger {
    /// Asks everyone to end.
    pub(crate) fn request(&self) {
        self.0.send_replace(true);
    }
}

/// Tells a role to read again what can be re-read (SIGHUP).
#[derive(Clone, Debug)]
pub(crate) struct Reload(watch::Receiver<u64>);

/// Asks for a reload.
#[derive(Clone, Debug)]
pub(crate) struct ReloadTrigger(watch::Sender<u64>);

impl Reload {
    /// A pair: who asks, who is asked.
    pub(crate) fn channel() -> (ReloadTrigger, Self) {
        let (sender, receiver) = watch::channel(0);
        (ReloadTrigger(sender), Self(receiver))
    }

    /// Returns at the next request that this clone has not seen; never where none can come any more.
    pub(crate) async fn requested(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl ReloadTrigger {
    /// Asks for a reload.
    pub(crate) fn request(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// SIGTERM and SIGINT ask for the end, SIGHUP for a reload. Must be called inside a runtime; ends with it.
pub(crate) fn watch_signals(shutdown: ShutdownTrigger, reload: ReloadTrigger) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => shutdown.request(),
                _ = interrupt.recv() => shutdown.request(),
                _ = hangup.recv() => reload.request(),
            }
        }
    });
    Ok(())
}

/// A runtime of one thread, the caller's (ADR-003).
pub(crate) fn single_threaded() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The second thread of a worker: it serves health and metrics and renews leases whatever the main loop does.
pub(crate) struct SecondThread {
    ended: oneshot::Receiver<()>,
}

impl SecondThread {
    /// Runs the future that `start` makes on a thread and runtime of its own.
    pub(crate) fn spawn<F, Fut>(name: &str, start: F) -> std::io::Result<Self>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        let (alive, ended) = oneshot::channel::<()>();
        let runtime = single_threaded()?;
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(start());
            // Outstanding blocking work must not hold up the process' end.
            runtime.shutdown_background();
            drop(alive);
        })?;
        Ok(Self { ended })
    }

    /// Returns when the thread's future has ended or panicked; a worker whose second thread is gone must end too.
    pub(crate) async fn ended(&mut self) {
        // Either outcome of the channel means the end; asked again, it is the same.
        if !self.ended.is_terminated() {
            let _ = (&mut self.ended).await;
        }
    }
}

/// A growing wait between attempts: doubles from 50 ms to 5 s, half of it random (equal jitter), so that many workers
/// do not return together. Reset by [`Backoff::reset`] after a success.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const MOST: Duration = Duration::from_secs(5);

    pub(crate) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    pub(crate) const fn reset(&mut self) {
        self.next = Self::FIRST;
    }

    /// Sleeps and raises the next wait.
    pub(crate) async fn wait(&mut self) {
        let half = self.next / 2;
        let jitter = half.mul_f64(fastrand::f64());
        self.next = (self.next * 2).min(Self::MOST);
        tokio::time::sleep(half + jitter).await;
    }
}

/// The moment by which a draining worker must be gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_reaches_clones_and_a_lost_trigger_counts_as_one() {
        let (trigger, shutdown) = Shutdown::channel();
        let clone = shutdown.clone();
        assert!(!clone.is_requested());
        trigger.request();
        clone.requested().await;
        assert!(shutdown.is_requested());
        let (trigger, orphan) = Shutdown::channel();
        drop(trigger);
        orphan.requested().await;
        assert!(orphan.is_requested());
    }

    #[tokio::test]
    async fn the_end_of_the_second_thread_is_seen() {
        let (trigger, shutdown) = Shutdown::channel();
        let mut thread = SecondThread::spawn("test", move || async move { shutdown.requested().await }).unwrap();
        trigger.request();
        thread.ended().await;
        thread.ended().await;
    }
}
