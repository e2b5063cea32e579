//! How many pods a Deployment is told to have and how many are ready, seen at every change.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Instant,
};

use mutt_e2e::eventually;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    wanted: i64,
    ready: i64,
}

/// A `kubectl get --watch`, which ends when this value is dropped.
pub(crate) struct Replicas {
    deployment: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _kubectl: Child,
}

impl Replicas {
    pub(crate) async fn watch(namespace: &str, deployment: &str) -> Self {
        let columns = "jsonpath={.spec.replicas} {.status.readyReplicas}{\"\\n\"}";
        let mut kubectl = Command::new("kubectl")
            .args(["-n", namespace, "get", "deployment", deployment, "--watch", "-o", columns])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(kubectl.stdout.take().unwrap()).lines();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    let mut numbers = line.split(' ').map(|text| text.parse().unwrap_or(0));
                    let mut next = || numbers.next().unwrap_or(0);
                    let (wanted, ready) = (next(), next());
                    seen.lock().unwrap().push(Seen { at: Instant::now(), wanted, ready });
                }
            }
        });
        let this = Self { deployment: format!("{namespace}/{deployment}"), seen, _kubectl: kubectl };
        this.until("is seen", |_, _| true).await;
        this
    }

    /// Waits until the number that is wanted and the number that is ready satisfy `check`.
    pub(crate) async fn until(&self, what: &str, check: impl Fn(i64, i64) -> bool) {
        eventually(&format!("{} {what}", self.deployment), async || {
            self.seen.lock().unwrap().last().is_some_and(|seen| check(seen.wanted, seen.ready))
        })
        .await;
    }

    /// The smallest number that was wanted from a moment on; what was the case at that moment counts.
    pub(crate) fn least_since(&self, moment: Instant) -> i64 {
        let seen = self.seen.lock().unwrap();
        let first = seen.iter().rposition(|seen| seen.at <= moment).unwrap_or(0);
        seen[first..].iter().map(|seen| seen.wanted).min().unwrap_or(0)
    }
}
