#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use k8s_openapi::jiff::SignedDuration;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::time::Instant;

use super::{
    issue::{Issued, issue},
    stored::Unusable,
    *,
};
use crate::external_metrics::trust::Announcement;

const HOST: &str = "metrics.mutt.svc";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn issued(now: Timestamp) -> Issued {
    issue(&[HOST.to_owned()], SystemTime::from(now), Pace::default().valid_for).unwrap()
}

fn secret(data: BTreeMap<String, ByteString>) -> Secret {
    Secret { data: Some(data), ..Secret::default() }
}

fn read(data: &BTreeMap<String, ByteString>, now: Timestamp) -> Result<Stored, Unusable> {
    Stored::read(&secret(data.clone()), HOST, true, now)
}

fn after(now: Timestamp, days: u32) -> Timestamp {
    now + SignedDuration::try_from(days * DAY).unwrap()
}

fn authorities(stored: &Stored) -> usize {
    CertificateDer::pem_slice_iter(stored.authorities()).map(Result::unwrap).count()
}

/// A year of renewals: in no state may a certificate be shown that is not signed by a CA of the bundle before it, which is what
/// a client may still trust, nor may the one before be distrusted while it is valid.
#[test]
fn a_renewal_is_trusted_before_it_is_shown_and_what_was_shown_is_trusted_until_it_expires() {
    let pace = Pace::default();
    let begin = Timestamp::now();
    let settled = || Instant::now().checked_sub(pace.settle).unwrap();
    let mut stored = read(&first(issued(begin)), begin).ok().unwrap();
    let mut switches = 0;
    for day in 0..365 {
        let now = after(begin, day);
        let told = stored.authorities().to_vec();
        let announcement = Announcement::Bundle { trusted: told.clone(), since: settled() };
        let data = match next_step(&stored, &announcement, now, &pace) {
            Step::Nothing => continue,
            Step::Prepare => stored.prepared(issued(now), now),
            Step::Switch => {
                switches += 1;
                stored.switched()
            }
        };
        let next = read(&data, now).ok().unwrap();
        let mut shown_now_trusted_before = data.clone();
        shown_now_trusted_before.insert("ca.crt".to_owned(), ByteString(told));
        assert!(read(&shown_now_trusted_before, now).is_ok(), "day {day}");
        let mut shown_before_trusted_now = stored.data.clone();
        shown_before_trusted_now.insert("ca.crt".to_owned(), ByteString(next.authorities().to_vec()));
        assert!(read(&shown_before_trusted_now, now).is_ok(), "day {day}");
        assert!(authorities(&next) <= 2, "day {day}: CAs that have expired are dropped");
        stored = next;
    }
    assert_eq!(switches, 6, "every 60 days");
}

#[test]
fn only_the_leader_renews_and_only_what_clients_have_been_told_is_shown() {
    let pace = Pace::default();
    let begin = Timestamp::now();
    let (long_ago, just_now) = (Instant::now().checked_sub(pace.settle).unwrap(), Instant::now());
    let fresh = read(&first(issued(begin)), begin).ok().unwrap();
    let due = after(begin, 61);
    let prepared = read(&fresh.prepared(issued(due), due), due).ok().unwrap();
    let bundle = |of: &Stored, since| Announcement::Bundle { trusted: of.authorities().to_vec(), since };
    for (case, stored, announcement, now, step) in [
        ("fresh", &fresh, bundle(&fresh, long_ago), begin, Step::Nothing),
        ("due", &fresh, bundle(&fresh, long_ago), due, Step::Prepare),
        ("due, and nobody asks", &fresh, Announcement::Nobody { since: just_now }, due, Step::Prepare),
        ("due, and another leads", &fresh, Announcement::Unknown, due, Step::Nothing),
        ("prepared, and another leads", &prepared, Announcement::Unknown, due, Step::Nothing),
        ("prepared, not told yet", &prepared, bundle(&fresh, long_ago), due, Step::Nothing),
        ("prepared, just told", &prepared, bundle(&prepared, just_now), due, Step::Nothing),
        ("prepared, told", &prepared, bundle(&prepared, long_ago), due, Step::Switch),
        ("prepared, nobody asks any more", &prepared, Announcement::Nobody { since: just_now }, due, Step::Nothing),
        ("prepared, nobody asks", &prepared, Announcement::Nobody { since: long_ago }, due, Step::Switch),
    ] {
        assert_eq!(next_step(stored, &announcement, now, &pace), step, "{case}");
    }
}

#[test]
fn what_cannot_be_served_with_says_why() {
    let now = Timestamp::now();
    let good = first(issued(now));
    let with = |key: &str, value: &str| {
        let mut data = good.clone();
        data.insert(key.to_owned(), ByteString(value.as_bytes().to_vec()));
        data
    };
    let other = issued(now);
    for (data, at, why) in [
        (BTreeMap::new(), now, "it has no ca.crt"),
        (with("tls.key", ""), now, "it has no tls.key"),
        (with("tls.crt", "-----BEGIN NOTHING"), now, "its tls.crt is no PEM"),
        (with("tls.crt", &other.certificate), now, "its certificate is not signed by its ca.crt"),
        (with("tls.key", &other.key), now, "its certificate and key are of no use"),
        (with("ca.crt", "nothing"), now, "its certificate is not signed by its ca.crt"),
        (good.clone(), after(now, 90), "its certificate expired at "),
        (good.clone(), now - SignedDuration::from_hours(2), "its certificate is not valid before "),
    ] {
        let said = read(&data, at).err().unwrap().to_string();
        assert!(said.starts_with(why), "{said}");
    }
    let stranger = Stored::read(&secret(good.clone()), "other.mutt.svc", true, now).err().unwrap();
    assert_eq!(stranger, Unusable::Stranger("other.mutt.svc".to_owned()));
    // OpenShift's has no ca.crt.
    let mut alone = good.clone();
    alone.remove("ca.crt");
    assert!(Stored::read(&secret(alone), HOST, false, now).is_ok());
}

#[test]
fn a_prepared_certificate_that_is_of_no_use_is_as_good_as_none() {
    let now = Timestamp::now();
    let stored = read(&first(issued(now)), now).ok().unwrap();
    let mut data = stored.prepared(issued(now), now);
    assert!(read(&data, now).ok().unwrap().next.is_some());
    data.insert(stored::NEXT_KEY.to_owned(), ByteString(b"broken".to_vec()));
    assert!(read(&data, now).ok().unwrap().next.is_none());
}
