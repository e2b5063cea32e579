//! When a certificate is followed by another, so that at no moment a client is shown one that it does not trust yet. Pure.
//!
//! 1. *Prepare*, a month before it expires: the next one goes into the Secret, and its CA to the CAs that clients are to trust.
//! 2. *Switch*, when the APIService has held both CAs for a while: the next one is shown.
//!
//! A replica that has not read the Secret since shows the old one until it expires; for as long, its CA stays trusted.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{super::trust::Announcement, stored::Stored};

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Life of a certificate that is made here.
    pub valid_for: Duration,
    /// How long before its end it is followed by another.
    pub renew_before: Duration,
    /// How long API servers may take to see a changed APIService, and requests under way to end.
    pub settle: Duration,
    /// How often the Secret is read.
    pub read_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            valid_for: 90 * DAY,
            renew_before: 30 * DAY,
            settle: Duration::from_secs(60),
            read_every: Duration::from_secs(30),
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Prepare,
    Switch,
}

/// What is to be done with a Secret of our own making.
pub(super) fn next_step(stored: &Stored, announcement: &Announcement, now: Timestamp, pace: &Pace) -> Step {
    match (announcement, &stored.next) {
        // Another replica leads, or this one has not looked yet.
        (Announcement::Unknown, _) => Step::Nothing,
        (_, None) if stored.current.not_after.duration_since(now) <= signed(pace.renew_before) => Step::Prepare,
        (Announcement::Nobody { since }, Some(_)) if since.elapsed() >= pace.settle => Step::Switch,
        (Announcement::Bundle { trusted, since }, Some(_))
            if trusted == stored.authorities() && since.elapsed() >= pace.settle =>
        {
            Step::Switch
        }
        _ => Step::Nothing,
    }
}

fn signed(duration: Duration) -> k8s_openapi::jiff::SignedDuration {
    k8s_openapi::jiff::SignedDuration::try_from(duration).unwrap_or(k8s_openapi::jiff::SignedDuration::MAX)
}
