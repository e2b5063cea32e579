//! Workers are replaced under load, as a scale-down or a roll-out does. No lease lapses within an hour, so whatever a worker
//! neither finishes nor hands back never arrives.

use mutt_e2e::{Pipeline, Role, eventually};

use crate::{ledger, load::Load};

const ROUNDS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_replaced_under_load_leave_nothing_that_must_lapse() {
    let mut pipeline = Pipeline::start().await;
    pipeline.set("ALERTER_JANITOR_TIMEOUT", "3600");
    pipeline.set("MOOG_JANITOR_TIMEOUT", "3600");
    let mut ingestor = pipeline.run(Role::Ingestor).await;
    let (mut alerter, mut forwarder) = (pipeline.run(Role::Alerter).await, pipeline.run(Role::Forwarder).await);
    // Senders find the next ingestor where the last one was.
    pipeline.set("SERVER_PORT_INGESTOR", ingestor.port().to_string());
    let load = Load::start(&pipeline.sender(&ingestor));
    for round in 0..ROUNDS {
        // Every other generation has no time to finish anything: what is in flight is handed back, not ended.
        pipeline.set("SHUTDOWN_TIMEOUT", if round % 2 == 0 { "1" } else { "25" });
        let next = (pipeline.run(Role::Alerter).await, pipeline.run(Role::Forwarder).await);
        let before = load.accepted();
        eventually(&format!("load in round {round}"), async || load.accepted() > before + 100).await;
        let old = (std::mem::replace(&mut alerter, next.0), std::mem::replace(&mut forwarder, next.1));
        let (ended, also) = tokio::join!(old.0.terminate(), old.1.terminate());
        assert!(ended.success() && also.success(), "round {round}: {ended}, {also}");
        // The port is free only once the old one has answered what was begun.
        assert!(ingestor.terminate().await.success());
        ingestor = pipeline.run(Role::Ingestor).await;
    }
    let accepted = load.stop().await;
    ledger::prove(&pipeline, &accepted).await;
    for (list, live) in [("mutt:rules:ack", "HLEN"), ("mutt:workers:alerter", "ZCARD"), ("mutt:workers:moog", "ZCARD")]
    {
        let count = pipeline.redis.command(&[live, list]).await.unwrap().integer();
        assert_eq!(count, 1, "{list}: those that ended took their entries with them");
    }
    for worker in [ingestor, alerter, forwarder] {
        assert!(worker.terminate().await.success());
    }
}
