//! Named tasks that live and end together: one that ends unasked ends all.

use std::{collections::HashMap, fmt::Display, future::Future, time::Duration};

use tokio::task::{Id, JoinError, JoinSet};

use super::{Fatal, Shutdown};

/// How long tasks may finish what they have begun. With the Lease's release it stays below the 30 s that Kubernetes gives
/// a pod.
const DRAIN: Duration = Duration::from_secs(20);

/// Tasks of a process or of a term of leadership; dropped with this value.
#[derive(Default)]
pub struct Tasks {
    set: JoinSet<Result<(), String>>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// Starts a task.
    pub fn spawn<E: Display + Send + 'static>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let task = self.set.spawn(async move { task.await.map_err(|error| error.to_string()) });
        self.names.insert(task.id(), name);
    }

    /// The first task that ends; never, if there is none.
    pub async fn ended(&mut self) -> Fatal {
        match self.set.join_next_with_id().await {
            Some(joined) => self.reason(joined),
            None => std::future::pending().await,
        }
    }

    /// Returns when the first task ends (`Err`) or, after the end was asked for, when all have ended or their time is
    /// over (`Ok`).
    pub async fn run(&mut self, shutdown: &Shutdown) -> Result<(), Fatal> {
        let unasked = tokio::select! {
            biased;
            () = shutdown.requested() => None,
            // On another thread, a task may have seen the request a moment before this one.
            ended = self.ended() => Some(ended).filter(|_| !shutdown.is_requested()),
        };
        if let Some(fatal) = unasked {
            return Err(fatal);
        }
        if tokio::time::timeout(DRAIN, self.all()).await.is_err() {
            tracing::warn!("reconciles cut: they did not end in time");
        }
        Ok(())
    }

    /// Drops all tasks at their next await and waits until they are gone.
    pub async fn abort(&mut self) {
        self.set.shutdown().await;
    }

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
    async fn tasks_that_were_asked_may_finish() {
        let (trigger, shutdown) = Shutdown::channel();
        let mut tasks = Tasks::default();
        let finished = Arc::new(AtomicBool::new(false));
        let (asked, done) = (shutdown.clone(), finished.clone());
        tasks.spawn("slow", async move {
            asked.requested().await;
            tokio::task::yield_now().await;
            done.store(true, Ordering::SeqCst);
            Ok::<_, Infallible>(())
        });
        tasks.spawn("quick", until(shutdown.clone()));
        trigger.request();
        tasks.run(&shutdown).await.unwrap();
        assert!(finished.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_ends_all_and_is_named() {
        let (_trigger, shutdown) = Shutdown::channel();
        for (task, reason) in [("returns", "it returned"), ("fails", "no more"), ("panics", "panicked")] {
            let mut tasks = Tasks::default();
            tasks.spawn("works on", until(shutdown.clone()));
            tasks.spawn(task, async move {
                match task {
                    "returns" => Ok(()),
                    "fails" => Err("no more"),
                    _ => panic!("on purpose"),
                }
            });
            let error = tasks.run(&shutdown).await.unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(task) && text.contains(reason), "{text}");
            assert_eq!(error.exit_code(), 70);
        }
    }

    #[tokio::test]
    async fn aborted_tasks_are_gone_when_that_returns() {
        struct Dropped(Arc<AtomicBool>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let mut tasks = Tasks::default();
        let dropped = Arc::new(AtomicBool::new(false));
        let held = Dropped(dropped.clone());
        tasks.spawn("deaf", async move {
            let _held = held;
            std::future::pending::<Result<(), Infallible>>().await
        });
        tasks.abort().await;
        assert!(dropped.load(Ordering::SeqCst));
    }
}
