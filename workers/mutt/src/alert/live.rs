//! Settings changed at run time (the hash `mutt:settings`) and other small duties of the main thread.

use std::time::{Duration, Instant};

use mutt_queue::UnhandledLimits;
use tokio::time::{MissedTickBehavior, interval};

use super::crew::Crew;
use crate::settings::AlerterSettings;

/// CONTRACT section 2.
const READ_EVERY: Duration = Duration::from_secs(5);
/// The second thread renews leases only while this is recent.
const TURN_EVERY: Duration = Duration::from_millis(500);

/// What the environment says.
pub(crate) fn limits(settings: &AlerterSettings) -> UnhandledLimits {
    UnhandledLimits { threshold: settings.unhandled_threshold, expiry_s: settings.unhandled_expiry.as_secs().max(1) }
}

/// Shows that the main loop turns.
pub(crate) async fn turn(crew: &Crew) {
    let mut tick = interval(TURN_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        crew.board.health.turn();
        crew.board.health.set_ready(crew.board.active.load().is_some() && !crew.shutdown.is_requested());
        for (rule, count) in crew.shared.shadow_matches.borrow_mut().drain() {
            crew.board.metrics.shadow_matches.with_label_values(&[rule.as_str()]).inc_by(count);
        }
    }
}

/// Follows the settings, and forgets the known signatures when their counters in Redis have expired.
pub(crate) async fn follow(crew: &Crew, from_environment: UnhandledLimits) {
    let mut tick = interval(READ_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut forgot = Instant::now();
    loop {
        tick.tick().await;
        match mutt_queue::settings::read(&crew.redis, &crew.keys).await {
            Ok(changed) => {
                let number = |name: &str| {
                    changed.get(name).and_then(|value| value.trim().parse::<u64>().ok()).filter(|n| *n > 0)
                };
                let limits = UnhandledLimits {
                    threshold: number("unhandled_threshold").unwrap_or(from_environment.threshold),
                    expiry_s: number("unhandled_expiry_seconds").unwrap_or(from_environment.expiry_s),
                };
                if limits != crew.limits.get() {
                    tracing::info!(limits.threshold, limits.expiry_s, "limits of unhandled messages changed");
                    crew.limits.set(limits);
                }
            }
            Err(error) => crew.board.redis.down(error),
        }
        if forgot.elapsed() >= Duration::from_secs(crew.limits.get().expiry_s) {
            crew.shared.signatures.borrow_mut().forget();
            forgot = Instant::now();
        }
    }
}
