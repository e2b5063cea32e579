//! Workers are killed (SIGKILL) at random under load, fifty times; ids prove that nothing is lost or audited twice.

use std::time::Duration;

use mutt_e2e::{Pipeline, Role, RoleProcess, eventually};

use crate::{ledger, load::Load};

const KILLS: usize = 50;

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
    // Workers[1] is an alerter: what it computes from the totals in Redis must say the same.
    eventually("totals that add up", async || {
        workers[1].metric("mutt_alerter_cache_rules_count", &[]).await > 1.5
            && workers[1].metric("mutt_conservation_gap", &[]).await.abs() < 0.5
    })
    .await;
    drain(workers).await;
}

async fn drain(workers: Vec<RoleProcess>) {
    for worker in workers {
        let role = worker.role();
        let status = worker.terminate().await;
        assert!(status.success(), "{role:?} ended with {status}");
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
