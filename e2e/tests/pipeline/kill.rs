//! Workers are killed (SIGKILL) at random under load, fifty times; ids prove that nothing is lost or audited twice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mutt_e2e::{Pipeline, Role, RoleProcess, Sender, eventually};

use crate::ledger;

const KILLS: usize = 50;
const SENDERS: usize = 3;
const BATCH: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_lose_nothing_and_audit_nothing_twice() {
    let mut pipeline = Pipeline::start().await;
    pipeline.set("ALERTER_JANITOR_TIMEOUT", "3");
    pipeline.set("MOOG_JANITOR_TIMEOUT", "3");
    // Workers here die so often that the same batch may be in work at several deaths: it is not its fault.
    pipeline.set("ALERTER_MAX_RETRIES", "100");
    pipeline.set("MOOG_MAX_RETRIES", "100");

    // Ingestors keep their port, so that senders find the next one where the last one was.
    let mut workers = Vec::new();
    for role in [Role::Ingestor, Role::Alerter, Role::Alerter, Role::Forwarder, Role::Forwarder] {
        workers.push(pipeline.run(role).await);
    }
    let sender = pipeline.sender(&workers[0]);
    pipeline.set("SERVER_PORT_INGESTOR", workers[0].port().to_string());

    let load = Load::start(&sender);
    let mut random = Random(0x5eed);
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        // Not before something was accepted since the last kill, else nothing is at stake.
        let before = load.accepted();
        eventually(&format!("load after kill {kill}"), async || load.accepted() > before).await;
        let index = usize::try_from(random.below(workers.len() as u64)).unwrap();
        let role = workers[index].role();
        workers.remove(index).kill();
        workers.insert(index, pipeline.spawn(role));
    }
    for worker in &mut workers {
        worker.wait_ready().await;
    }
    let accepted = load.stop().await;
    assert!(accepted.len() > KILLS, "hardly any load: {} events", accepted.len());
    ledger::prove(&pipeline, &accepted).await;
    drain(workers).await;
}

async fn drain(workers: Vec<RoleProcess>) {
    for worker in workers {
        let role = worker.role();
        let status = worker.terminate().await;
        assert!(status.success(), "{role:?} ended with {status}");
    }
}

/// Senders that go on until they are told to stop, each batch until it is accepted.
struct Load {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    accepted: Arc<Mutex<BTreeSet<usize>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(sender: &Sender) -> Self {
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

    fn accepted(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    async fn stop(self) -> BTreeSet<usize> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut *self.accepted.lock().unwrap())
    }
}

/// xorshift64: the same kills in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
