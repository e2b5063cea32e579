//! The wish that something ends, and the signals that express it.

use std::future::Future;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Tells a task that it should finish what it has begun and end.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Asks for the end.
#[derive(Clone, Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

impl Shutdown {
    /// A pair: who asks, who is asked.
    pub fn channel() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// Returns once the end is asked for (or the asker is gone).
    pub async fn requested(&self) {
        // An error means that the trigger is gone, which asks for the end too.
        let _ = self.0.clone().wait_for(|requested| *requested).await;
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// `future`'s output, or `None` if the end is asked for before.
    pub async fn or<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.requested() => None,
            output = future => Some(output),
        }
    }
}

impl ShutdownTrigger {
    /// Asks everyone to end.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

/// The [`Shutdown`] that SIGTERM and SIGINT ask for. Must be called inside a runtime.
pub fn on_signals() -> std::io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (trigger, shutdown) = Shutdown::channel();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: ends"),
            _ = interrupt.recv() => tracing::info!("SIGINT: ends"),
        }
        trigger.request();
        // The trigger stays until the runtime ends; a second signal finds nothing more to ask for.
        std::future::pending::<()>().await;
    });
    Ok(shutdown)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_clones_and_a_lost_trigger_counts_as_one() {
        let (trigger, shutdown) = Shutdown::channel();
        assert_eq!(shutdown.or(async { 1 }).await, Some(1));
        let clone = shutdown.clone();
        trigger.request();
        clone.requested().await;
        assert!(shutdown.is_requested());
        assert_eq!(shutdown.or(std::future::pending::<()>()).await, None);
        let (trigger, orphan) = Shutdown::channel();
        drop(trigger);
        orphan.requested().await;
        assert!(orphan.is_requested());
    }
}
