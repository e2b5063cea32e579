//! The end of a batch: what its outbox owes goes to Redis, however long Redis is away.

use std::collections::BTreeMap;

use mutt_queue::{Batch, Finished, Json};

use super::crew::Crew;
use super::lane::{Abandoned, HoldGuard, Job};
use super::outgoing::{meta_alert, queue_outbox};
use crate::audit::Outbox;
use crate::worker::Backoff;

/// Finishes an audited batch. `alerts` as in [`queue_outbox`], `accepted` as in [`super::metrics::Metrics::finished`].
///
/// # Errors
/// When another worker has the batch, or this one ends first; the stored outbox is then finished by the next owner.
pub(crate) async fn finish(
    crew: &Crew,
    job: &Job,
    outbox: &Outbox,
    alerts: Option<Vec<Json>>,
    accepted: &[i64],
) -> Result<(), Abandoned> {
    let Batch { lease, elements } = &job.batch;
    let limits = crew.limits.get();
    let made = queue_outbox(lease.batch, elements, outbox, alerts);
    let mut metas: BTreeMap<usize, Json> = BTreeMap::new();
    let mut backoff = Backoff::new();
    let mut holding: Option<HoldGuard<'_>> = None;
    loop {
        match crew.leases.finish(lease, &made, limits, &metas).await {
            Ok(Finished::Done { alert_depth, meta_alerts }) => {
                crew.alert_depth.set(alert_depth);
                crew.board.metrics.finished(outbox, meta_alerts, job, accepted);
                return Ok(());
            }
            // Only after an answer that was lost: this worker did it.
            Ok(Finished::AlreadyDone) => {
                crew.board.metrics.finished(outbox, metas.len() as u64, job, accepted);
                return Ok(());
            }
            Ok(Finished::LostLease) => return Err(Abandoned::LostLease),
            Ok(Finished::MetaWanted(wanted)) => {
                for wanted in wanted {
                    let Some(group) = made.unhandled.get(wanted.group) else { continue };
                    let team = crew.team_of(&group.host);
                    metas.insert(wanted.group, meta_alert(lease.batch, elements, wanted, group, limits, &team));
                }
            }
            Err(error) => {
                crew.board.redis.down(error);
                holding.get_or_insert_with(|| crew.holding());
                backoff.wait().await;
                if crew.shutdown.is_requested() {
                    drop(crew.leases.hand_back(lease).await);
                    return Err(Abandoned::Ending);
                }
            }
        }
    }
}
