//! Takes over batches that other workers let lapse, at the start and every few seconds.

use std::time::{Duration, Instant};

use mutt_queue::Takeover;
use tokio::time::{MissedTickBehavior, interval};

use super::crew::Crew;
use super::lane::Job;

/// Rounds per lease length, at most five seconds apart.
const ROUNDS: u32 = 6;
const ROUND_MAX: Duration = Duration::from_secs(5);

/// Runs until the end is asked for. Takes no more than the lanes can soon process, so that other workers share the rest.
pub(crate) async fn run(crew: &Crew, lease: Duration, lanes: usize) {
    let mut tick = interval((lease / ROUNDS).min(ROUND_MAX));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = crew.shutdown.requested() => return,
        }
        // Without rules or PostgreSQL a batch would only change hands.
        let able = crew.board.active.load().is_some() && crew.board.postgres.is_up() && !crew.shutdown.is_requested();
        let room = lanes.saturating_sub(crew.recovered_waiting());
        if able && room > 0 {
            round(crew, room).await;
        }
    }
}

async fn round(crew: &Crew, room: usize) {
    let lapsed = match crew.leases.lapsed(room).await {
        Ok(lapsed) => lapsed,
        Err(error) => return crew.board.redis.down(error),
    };
    for lease in lapsed {
        match crew.leases.take_over(&lease).await {
            Ok(Takeover::Ours(found)) => {
                tracing::info!(batch = %lease.batch, from = %lease.worker, events = found.batch.elements.len(), found.tries, "batch taken over");
                crew.recover(Job {
                    batch: found.batch,
                    tries: found.tries,
                    poisoned: found.poisoned,
                    successor: true,
                    taken: Instant::now(),
                });
            }
            Ok(Takeover::NotOurs) => {}
            Ok(Takeover::Gone) => {
                tracing::error!(batch = %lease.batch, "a batch in flight is gone: redis lost acknowledged data");
            }
            // An unknown result: if it is ours, it lapses again and costs a try; the next round asks first.
            Err(error) => return crew.board.redis.down(error),
        }
    }
}
