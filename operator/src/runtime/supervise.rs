//! Named tasks that live and end together: a task that ends unasked takes the process with it.

use std::{collections::HashMap, fmt::Display, future::Future, time::Duration};

use tokio::task::{Id, JoinError, JoinSet};

use super::{Fatal, Shutdown, shutdown::ShutdownTrigger};

/// How long reconciles may finish what they have begun. With the Lease's release it stays below the 30 s that Kubernetes
/// gives a pod.
const DRAIN: Duration = Duration::from_secs(20);
/// How long the base may take to end: the Lease's release is one request.
const RELEASE: Duration = Duration::from_secs(5);

/// Two layers of tasks. The work (controllers) stands on the base (Lease, HTTP server): the base is asked to end only when
/// no work is left, so that the Lease covers the last write.
pub struct Supervisor {
    shutdown: Shutdown,
    work: Tasks,
    base: Tasks,
    base_trigger: ShutdownTrigger,
    base_shutdown: Shutdown,
}

#[derive(Default)]
struct Tasks {
    set: JoinSet<Result<(), String>>,
    names: HashMap<Id, &'static str>,
}

impl Supervisor {
    /// Ends when `shutdown` asks for it, or when the first task ends.
    pub fn new(shutdown: Shutdown) -> Self {
        let (base_trigger, base_shutdown) = Shutdown::channel();
        Self { shutdown, work: Tasks::default(), base: Tasks::default(), base_trigger, base_shutdown }
    }

    /// What tells the base to end.
    pub fn base_shutdown(&self) -> Shutdown {
        self.base_shutdown.clone()
    }

    /// A task that writes to the cluster or to Redis.
    pub fn work<E: Display + Send + 'static>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.work.spawn(name, task);
    }

    /// A task on which the work stands.
    pub fn base<E: Display + Send + 'static>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.base.spawn(name, task);
    }

    /// Returns when all tasks have ended: `Ok` if they were asked to.
    pub async fn run(mut self) -> Result<(), Fatal> {
        let unasked = tokio::select! {
            biased;
            () = self.shutdown.requested() => None,
            ended = self.base.ended() => Some(ended),
            // On another thread, work may have seen the request a moment before this one.
            ended = self.work.ended() => Some(ended).filter(|_| !self.shutdown.is_requested()),
        };
        let outcome = match unasked {
            None => self.drain().await,
            Some(fatal) => Err(fatal),
        };
        // Dropped at their next await: if the Lease is lost, no further write may start.
        self.work.set.shutdown().await;
        self.base_trigger.request();
        let released = tokio::time::timeout(RELEASE, self.base.all()).await;
        if released.is_err() {
            tracing::warn!("the Lease could not be given back in time; it lapses by itself");
        }
        outcome
    }

    /// Waits for the work to end by itself.
    async fn drain(&mut self) -> Result<(), Fatal> {
        tokio::select! {
            () = self.work.all() => Ok(()),
            ended = self.base.ended() => Err(ended),
            () = tokio::time::sleep(DRAIN) => {
                tracing::warn!("reconciles cut: they did not end in time");
                Ok(())
            }
        }
    }
}

impl Tasks {
    fn spawn<E: Display + Send + 'static>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = self.set.spawn(async move { task.await.map_err(|error| error.to_string()) });
        self.names.insert(task.id(), name);
    }

    /// The first task that ends; never, if there is none.
    async fn ended(&mut self) -> Fatal {
        match self.set.join_next_with_id().await {
            Some(joined) => self.reason(joined),
            None => std::future::pending().await,
        }
    }

    /// All tasks have ended.
    async fn all(&mut self) {
        while let Some(joined) = self.set.join_next_with_id().await {
            if !matches!(&joined, Ok((_, Ok(())))) {
                tracing::warn!(reason = %self.reason(joined), "while ending");
            }
        }
    }

    fn reason(&self, joined: Result<(Id, Result<(), String>), JoinError>) -> Fatal {
        let (id, reason) = match joined {
            Ok((id, Ok(()))) => (id, "it returned".to_owned()),
            Ok((id, Err(error))) => (id, error),
            Err(error) => (error.id(), error.to_string()),
        };
        Fatal::Task { task: self.names.get(&id).copied().unwrap_or("a task"), reason }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use super::*;

    async fn until(shutdown: Shutdown) -> Result<(), Infallible> {
        shutdown.requested().await;
        Ok(())
    }

    #[tokio::test]
    async fn the_base_ends_after_the_work() {
        let (trigger, shutdown) = Shutdown::channel();
        let mut supervisor = Supervisor::new(shutdown.clone());
        let (worked, base_saw_it) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (done, seen, base) = (worked.clone(), base_saw_it.clone(), supervisor.base_shutdown());
        supervisor.work("work", async move {
            shutdown.requested().await;
            tokio::task::yield_now().await;
            done.store(true, Ordering::SeqCst);
            Ok::<_, Infallible>(())
        });
        supervisor.base("base", async move {
            base.requested().await;
            seen.store(worked.load(Ordering::SeqCst), Ordering::SeqCst);
            Ok::<_, Infallible>(())
        });
        trigger.request();
        supervisor.run().await.unwrap();
        assert!(base_saw_it.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_ends_all_and_is_named() {
        let (_trigger, shutdown) = Shutdown::channel();
        for (task, reason) in [("returns", "it returned"), ("fails", "no more"), ("panics", "panicked")] {
            let mut supervisor = Supervisor::new(shutdown.clone());
            supervisor.work("works on", until(shutdown.clone()));
            supervisor.base("base", until(supervisor.base_shutdown()));
            supervisor.work(task, async move {
                match task {
                    "returns" => Ok(()),
                    "fails" => Err("no more"),
                    _ => panic!("on purpose"),
                }
            });
            let error = supervisor.run().await.unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(task) && text.contains(reason), "{text}");
            assert_eq!(error.exit_code(), 70);
        }
    }

    #[tokio::test]
    async fn work_is_dropped_when_the_base_ends() {
        struct Dropped(Arc<AtomicBool>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (_trigger, shutdown) = Shutdown::channel();
        let mut supervisor = Supervisor::new(shutdown);
        let dropped = Arc::new(AtomicBool::new(false));
        let held = Dropped(dropped.clone());
        supervisor.work("deaf", async move {
            let _held = held;
            std::future::pending::<Result<(), Infallible>>().await
        });
        supervisor.base("lease", async { Err("lost") });
        assert_eq!(supervisor.run().await.unwrap_err().to_string(), "lease ended: lost");
        assert!(dropped.load(Ordering::SeqCst));
    }
}
