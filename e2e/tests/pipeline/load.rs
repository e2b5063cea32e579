//! Senders that keep going whatever happens, and know what was accepted.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mutt_e2e::Sender;

use crate::ledger;

const SENDERS: usize = 3;
const BATCH: usize = 5;

/// Senders that go on until they are told to stop, each batch until it is accepted.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    accepted: Arc<Mutex<BTreeSet<usize>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(sender: &Sender) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (count, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let accepted: Arc<Mutex<BTreeSet<usize>>> = Arc::default();
        let tasks = (0..SENDERS).map(|_| {
            let (stop, next, sender) = (Arc::clone(&stop), Arc::clone(&next), sender.clone());
            let (count, accepted) = (Arc::clone(&count), Arc::clone(&accepted));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    let numbers = first..first + BATCH;
                    sender.send_until_accepted(&ledger::batch(numbers.clone()), &format!("batch-{first}")).await;
                    accepted.lock().unwrap().extend(numbers);
                    count.fetch_add(BATCH, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        });
        Self { tasks: tasks.collect(), stop, count, accepted }
    }

    /// Number of events accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Stops and returns the numbers of all accepted events.
    pub(crate) async fn stop(self) -> BTreeSet<usize> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut *self.accepted.lock().unwrap())
    }
}
