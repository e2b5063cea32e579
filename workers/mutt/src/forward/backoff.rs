//! How long a failed alert waits. Pure; the caller brings the random number.

use std::time::Duration;

/// A receiver may not park an alert for longer: a wrong Retry-After would else hide it for days.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// The wait before the next attempt after `attempts` failed ones (1 = the first failed):
/// min(base·2ⁿ, max) with equal jitter (half fixed, half `random` in 0..1), or Retry-After if longer.
pub(crate) fn delay(
    base: Duration,
    max: Duration,
    attempts: u32,
    random: f64,
    retry_after: Option<Duration>,
) -> Duration {
    let factor = 2f64.powi(attempts.saturating_sub(1).min(62) as i32);
    let full = (base.as_secs_f64() * factor).min(max.as_secs_f64()).max(0.0);
    let jittered = Duration::from_secs_f64(full / 2.0 + full / 2.0 * random.clamp(0.0, 1.0));
    retry_after.map_or(jittered, |asked| asked.min(RETRY_AFTER_MAX).max(jittered))
}

/// Retry-After as seconds or as an HTTP date (RFC 9110 section 10.2.3), relative to `now`.
pub(crate) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_mins(1);

    #[test]
    fn doubles_up_to_the_maximum() {
        for (attempts, low_s, high_s) in
            [(1, 0.5, 1.0), (2, 1.0, 2.0), (3, 2.0, 4.0), (6, 16.0, 32.0), (7, 30.0, 60.0), (500, 30.0, 60.0)]
        {
            assert_eq!(delay(BASE, MAX, attempts, 0.0, None), Duration::from_secs_f64(low_s), "{attempts}");
            assert_eq!(delay(BASE, MAX, attempts, 1.0, None), Duration::from_secs_f64(high_s), "{attempts}");
        }
    }

    #[test]
    fn retry_after_counts_when_longer() {
        assert_eq!(delay(BASE, MAX, 1, 0.5, Some(Duration::from_secs(7))).as_secs(), 7);
        assert_eq!(delay(BASE, MAX, 7, 1.0, Some(Duration::from_secs(7))).as_secs(), 60);
        assert_eq!(delay(BASE, MAX, 1, 0.5, Some(Duration::from_secs(u64::MAX))), RETRY_AFTER_MAX);
    }

    #[test]
    fn reads_seconds_and_dates() {
        let now: jiff::Timestamp = "2015-10-21T07:28:00Z".parse().unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:29:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-3", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now).map(|wait| wait.as_secs()), seconds, "{value}");
        }
    }

    proptest! {
        #[test]
        fn never_leaves_its_bounds(base_ms in 0u64..100_000, max_ms in 0u64..1_000_000, attempts in 0u32.., random in 0f64..1.0) {
            let (base, max) = (Duration::from_millis(base_ms), Duration::from_millis(max_ms));
            let wait = delay(base, max, attempts, random, None);
            prop_assert!(wait <= max + Duration::from_nanos(1));
            prop_assert!(wait + Duration::from_nanos(1) >= base.min(max) / 2);
        }
    }
}
