//! From looks to reports and screens; the command itself is driven from outside in e2e.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use mutt_queue::moog::{BreakerState, Rate};
use mutt_queue::served_rules::{Ack, AckError, Served};
use mutt_queue::{MoogState, Totals};
use tokio::time::Instant;

use super::look::Look;
use super::report::{Report, report};
use super::{line, text};
use crate::slo::{Slo, State};

fn look(at: Instant) -> Look {
    let rate = Rate { limit: 50, period: Duration::from_secs(1) };
    Look {
        at,
        totals: Totals::default(),
        served: Served {
            revision: Some("a".repeat(64)),
            alive: vec!["one".into(), "two".into()],
            acks: ["one", "two"].map(|worker| (worker.to_owned(), ack('a'))).into(),
            ..Served::default()
        },
        moog: MoogState {
            alive: vec!["f".into()],
            breaker: BreakerState::Closed,
            failures: 0,
            opened_for: Duration::from_hours(400_000),
            paused: None,
            rate: Some(rate),
            granted: 25,
        },
    }
}

fn set(look: &mut Look, total: &str, value: i64) {
    look.totals.counts.insert(total.to_owned(), value);
}

fn ack(letter: char) -> Ack {
    Ack { revision: letter.to_string().repeat(64), rules: 1_234, errors: Vec::new() }
}

/// Two looks ten seconds apart, changed as a test wants.
fn reported(change: impl Fn(&mut Look, &mut Look)) -> Report {
    let start = Instant::now();
    let (mut before, mut now) = (look(start), look(start + Duration::from_secs(10)));
    change(&mut before, &mut now);
    report(&before, &now, Vec::new(), "redis on r:6379")
}

#[test]
fn all_is_well() {
    let report = reported(|_, _| {});
    assert_eq!(report.problems, Vec::<String>::new());
    let screen = text::screen(&report);
    assert!(screen.lines().next().unwrap().ends_with("redis on r:6379: all is well"), "{screen}");
    assert!(screen.contains("rate limit 25 of 50 in 1.0 s (50 %), not paused"), "{screen}");
    assert!(screen.contains("revision aaaaaaaaaaaa in use by 2 of 2 alerters"), "{screen}");
    assert!(screen.contains("1,234 rules"), "{screen}");
    assert!(line::line(&report).ends_with("breaker closed; all is well"));
}

#[test]
fn rates_and_time_to_drain_come_from_two_looks() {
    let rates = |accepted: i64, finished: i64| {
        let report = reported(|before, now| {
            set(before, "accepted", 1_000);
            set(now, "accepted", 1_000 + accepted);
            set(now, "finished", finished);
            (before.totals.ingest_queue, now.totals.ingest_queue) = (600 - accepted + finished, 600);
        });
        let [ingest, alert] = report.queues;
        assert_eq!(alert.seconds_to_drain, Some(0.0), "empty");
        (ingest.in_per_second, ingest.out_per_second, ingest.seconds_to_drain)
    };
    assert_eq!(rates(1_000, 4_000), (100.0, 400.0, Some(2.0)));
    assert_eq!(rates(4_000, 1_000), (400.0, 100.0, None));
    assert_eq!(rates(0, 0), (0.0, 0.0, None), "nobody works at it");
    assert_eq!(rates(-500, 0).0, 0.0, "Redis was emptied");
}

#[test]
fn every_trouble_is_told_with_what_to_do() {
    let says = |change: &dyn Fn(&mut Look, &mut Look), words: &str| {
        let report = reported(change);
        assert!(report.problems.len() == 1 && report.problems[0].contains(words), "{words}: {:?}", report.problems);
        assert!(text::screen(&report).contains(&format!("  ! {}", report.problems[0])));
        assert!(line::line(&report).ends_with(&report.problems[0]));
    };
    says(&|_, now| now.totals.dlq_ingest = 3, "`mutt dlq list ingest`");
    says(&|_, now| now.totals.dlq_dead = 1_000, "dead holds 1,000");
    says(
        &|before, now| {
            set(before, "accepted", 1);
            set(now, "accepted", 1);
        },
        "off by 1 event (negative",
    );
    says(
        &|_, now| {
            now.served.alive.clear();
            set(now, "accepted", 5);
            now.totals.ingest_queue = 5;
        },
        "no alerter is alive and the ingest queue holds 5 events",
    );
    says(
        &|_, now| {
            now.moog.breaker = BreakerState::Open;
            now.moog.opened_for = Duration::from_secs(75);
            now.moog.failures = 10;
        },
        "open since 1 min 15 s (10 failures in a row)",
    );
    says(&|_, now| now.moog.paused = Some(Duration::from_secs(7)), "MOOG_API_KEY");
    says(
        &|before, now| {
            for look in [before, now] {
                look.served.acks.insert("two".to_owned(), ack('b'));
            }
        },
        "without the current rules: two",
    );
    says(
        &|before, now| {
            before.served.revision = None;
            now.served.revision = None;
        },
        "no rules are published",
    );
    let error = AckError { rule: "n/bad".into(), reason: "unclosed group".into(), last_good_in_use: true };
    says(
        &|_, now| now.served.acks.values_mut().for_each(|ack| ack.errors.push(error.clone())),
        "rule n/bad: unclosed group; its last good form is in use",
    );
}

#[test]
fn a_backlog_is_trouble_once_it_is_late_and_says_why() {
    let late = |ages: [u64; 4], granted: u64| {
        let report = reported(|before, now| {
            for look in [before, now] {
                look.totals.ages = ages.map(|age| Some(Duration::from_secs(age)));
                look.moog.granted = granted;
                set(look, "accepted", 9);
                set(look, "alerts", 7);
                (look.totals.ingest_queue, look.totals.alert_queue) = (9, 7);
            }
            set(now, "finished", 3);
            set(now, "accepted", 12);
            set(now, "alerts_delivered", 2);
            now.totals.alert_queue = 5;
        });
        report.problems
    };
    assert_eq!(late([60, 500, 60, 500], 50), Vec::<String>::new(), "on their way");
    let both = late([61, 0, 61, 0], 45);
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both[0].contains("oldest of 9 events waits for 1 min 1 s; it never drains at 0 in and 0 out"), "{both:?}");
    assert!(both[1].ends_with("the webhook's rate limit is used up"), "{both:?}");
    assert!(late([0, 0, 61, 0], 44)[0].ends_with("drained in 25 s at this pace"));
}

#[test]
fn what_passes_by_itself_is_no_trouble() {
    // A gap between two scripts' moments, a change of rules on its way, a worker that came just now.
    let gap = reported(|_, now| set(now, "accepted", 1));
    assert_eq!((gap.gap_events, gap.problems.len()), (0, 0));
    let change = reported(|before, now| {
        before.served.revision = Some("b".repeat(64));
        now.served.acks.remove("two");
    });
    assert_eq!(change.problems, Vec::<String>::new());
    let fresh = reported(|before, now| {
        before.served.alive.pop();
        before.served.acks.remove("two");
        now.served.acks.remove("two");
    });
    assert_eq!(fresh.problems, Vec::<String>::new());
    assert!(text::screen(&fresh).contains("two  none yet"));
}

#[test]
fn objectives_are_shown_and_those_in_danger_are_trouble() {
    let slo = |name, status, actual_value, message: &str| Slo {
        slo_name: name,
        description: "",
        window_hours: 720,
        actual_value,
        status,
        error_budget_remaining: actual_value.map(|_| 0.25),
        burn_rate: actual_value.map(|_| 15.0),
        message: message.to_owned(),
        target: 0.999,
    };
    let start = Instant::now();
    let (before, now) = (look(start), look(start + Duration::from_secs(1)));
    let slos = vec![slo("one", State::AtRisk, Some(0.999_25), "why"), slo("two", State::Unknown, None, "no events")];
    let some = report(&before, &now, slos, "r");
    assert_eq!(some.problems, ["objective one is at risk: why"]);
    let screen = text::screen(&some);
    assert!(screen.contains("99.9 %  99.925 %         25 %    15.0 x  at_risk"), "{screen}");
    assert!(screen.lines().last().unwrap().ends_with("-  no events"), "{screen}");
    let unknown = vec![slo("one", State::Unknown, None, "away"), slo("two", State::Unknown, None, "away")];
    let none = report(&before, &now, unknown, "r");
    assert!(none.problems.is_empty() && text::screen(&none).ends_with("objectives: unknown. away\n"));
    let json = serde_json::to_value(&none).unwrap();
    assert_eq!(
        (json["slos"][0]["status"].as_str(), json["queues"][1]["queue"].as_str()),
        (Some("unknown"), Some("alert"))
    );
}

#[test]
fn times_and_counts_read_well() {
    let spans = [0.0, 1.25, 9.96, 59.4, 59.6, 3_599.0, 7_260.0, 90_000.0].map(text::span);
    assert_eq!(spans, ["0.0 s", "1.2 s", "10 s", "59 s", "1 min 0 s", "59 min 59 s", "2 h 1 min", "1 d 1 h"]);
    assert_eq!([0, 999, 1_000, -1_234_567].map(text::count), ["0", "999", "1,000", "-1,234,567"]);
}
