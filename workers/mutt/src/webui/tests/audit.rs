//! `audit-logs` and `config-audit`: searches, pages, cursors.

use serde_json::{Value, json};

use super::{Site, assert_refused};

/// Twelve events: `core-1` and `core-2` in turn, minutes apart, rule 1 or none.
async fn events(site: &Site) {
    site.sql(
        "INSERT INTO event_audit_log (event_timestamp, hostname, matched_rule_id, handling_decision, \
         forwarded_to_moog, raw_message, event_id, correlation_id, rule_name, team) \
         SELECT timestamptz '2026-03-01 12:00:00.000001+00' - make_interval(mins => n), 'core-' || 1 + n % 2, \
         CASE WHEN n % 3 = 0 THEN 1 END, CASE WHEN n % 3 = 0 THEN 'Page_and_ticket' ELSE 'unhandled' END, n % 3 = 0, \
         format('{\"message\":\"m%s\"}', n), gen_random_uuid(), 'c' || n, CASE WHEN n % 3 = 0 THEN 'bgp' END, 'NETO' \
         FROM generate_series(0, 11) n",
    )
    .await;
}

fn messages(answer: &Value) -> Vec<String> {
    let logs = answer["logs"].as_array().unwrap();
    logs.iter().map(|log| log["correlation_id"].as_str().unwrap().to_owned()).collect()
}

fn numbered(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("c{number}")).collect()
}

#[tokio::test]
async fn searches_are_newest_first_with_pages_and_filters() {
    let site = Site::start_with(&[("AUDIT_LOG_PAGE_SIZE", "5")]).await;
    events(&site).await;
    let (status, all) = site.get("/audit-logs").await;
    assert_eq!((status, messages(&all)), (200, numbered(0..5)));
    let first = &all["logs"][0];
    assert_eq!(first["event_timestamp"], "2026-03-01T12:00:00.000001Z");
    assert_eq!((first["hostname"].as_str(), first["matched_rule_id"].as_i64()), (Some("core-1"), Some(1)));
    assert_eq!(
        (first["forwarded_to_moog"].as_bool(), first["raw_message"].as_str()),
        (Some(true), Some("{\"message\":\"m0\"}"))
    );
    assert_eq!(all["logs"][1]["matched_rule_id"], Value::Null);
    let pagination = &all["pagination"];
    assert_eq!((pagination["page"].as_i64(), pagination["limit"].as_i64()), (Some(1), Some(5)));
    assert_eq!((pagination["total"].as_i64(), pagination["pages"].as_i64()), (Some(12), Some(3)));
    for (query, expected) in [
        ("page=3", numbered(10..12)),
        ("page=4", numbered([])),
        ("page=2&limit=4", numbered(4..8)),
        ("limit=200", numbered(0..12)),
        ("hostname=core-1", numbered([0, 2, 4, 6, 8])),
        ("hostname=core-1&page=2", numbered([10])),
        ("hostname=core", numbered([])),
        ("rule_id=1", numbered([0, 3, 6, 9])),
        ("rule_id=1&hostname=core-2", numbered([3, 9])),
        ("start_date=2026-03-01T11:58:00Z", numbered(0..3)),
        ("start_date=2026-03-01T11:58:00Z&end_date=2026-03-01T11:59:30Z", numbered([1, 2])),
        ("end_date=2026-03-01T12:55:00%2B01:00", numbered(6..11)),
        ("end_date=2026-03-01", numbered(0..5)),
        ("end_date=2026-02-28", numbered([])),
        ("start_date=2026-03-01&end_date=2026-03-01&hostname=core-2", numbered([1, 3, 5, 7, 9])),
    ] {
        let (status, found) = site.get(&format!("/audit-logs?{query}")).await;
        assert_eq!((status, messages(&found)), (200, expected), "{query}");
    }
    site.stop().await;
}

#[tokio::test]
async fn a_cursor_goes_through_all_while_new_events_come_in() {
    let site = Site::start().await;
    events(&site).await;
    for filter in ["", "&hostname=core-1"] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, found) = site.get(&format!("/audit-logs?limit=5{filter}{cursor}")).await;
            assert_eq!(status, 200, "{found}");
            seen.extend(messages(&found));
            // A newer event and one with the very time of a row that was seen.
            site.sql(
                "INSERT INTO event_audit_log (event_timestamp, hostname, handling_decision, correlation_id) \
                 VALUES (now(), 'core-1', 'unhandled', 'later')",
            )
            .await;
            let Some(next) = found["pagination"]["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        seen.retain(|message| message != "later");
        let expected = if filter.is_empty() { numbered(0..12) } else { numbered([0, 2, 4, 6, 8, 10]) };
        assert_eq!(seen, expected, "{filter}");
    }
    site.stop().await;
}

#[tokio::test]
async fn rows_of_the_same_time_are_told_apart_by_their_id() {
    let site = Site::start().await;
    site.sql(
        "INSERT INTO event_audit_log (event_timestamp, hostname, handling_decision, correlation_id) \
         SELECT timestamptz '2026-03-01 12:00:00+00', 'h', 'unhandled', 'c' || n FROM generate_series(0, 6) n",
    )
    .await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let found = site.get(&format!("/audit-logs?limit=2{cursor}")).await.1;
        seen.extend(messages(&found));
        let Some(next) = found["pagination"]["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, numbered((0..7).rev()));
    site.stop().await;
}

#[tokio::test]
async fn bad_searches_are_400_with_the_parameters_name() {
    let site = Site::start().await;
    for (query, field) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=x", "page"),
        ("page=99999999999999999999", "page"),
        ("page=1&page=2", "page"),
        ("page=1&cursor=0.0", "page"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-5", "limit"),
        ("limit=1e2", "limit"),
        ("rule_id=abc", "rule_id"),
        ("rule_id=1%20OR%201=1", "rule_id"),
        ("rule_id=2147483648", "rule_id"),
        ("hostname=%00", "hostname"),
        ("start_date=yesterday", "start_date"),
        ("start_date=2026-02-30", "start_date"),
        ("end_date=%27%3B%20DROP%20TABLE%20x%3B--", "end_date"),
        ("start_date=2026-03-02&end_date=2026-03-01", "end_date"),
        ("cursor=abc", "cursor"),
        ("cursor=1", "cursor"),
        ("cursor=9223372036854775807.1", "cursor"),
    ] {
        assert_refused(&site.get(&format!("/audit-logs?{query}")).await, 400, field);
    }
    for (query, field) in [
        ("operation=DROP", "operation"),
        ("page=-1", "page"),
        ("limit=1000", "limit"),
        ("changed_by=%00", "changed_by"),
        ("start_date=1", "start_date"),
        ("cursor=..", "cursor"),
    ] {
        assert_refused(&site.get(&format!("/config-audit?{query}")).await, 400, field);
        assert_refused(&site.get(&format!("/audit?{query}")).await, 400, field);
    }
    for query in ["hostname=%27%20OR%201%3D1%20--", "hostname=%F0%9F%92%A9", "hostname=", "unknown=1", "page=1000000"] {
        let (status, found) = site.get(&format!("/audit-logs?{query}")).await;
        assert_eq!((status, messages(&found)), (200, numbered([])), "{query}");
    }
    site.stop().await;
}

#[tokio::test]
async fn changes_are_found_by_who_what_and_when() {
    let site = Site::start().await;
    for (user, host) in [("alice", "a"), ("bob", "b"), ("alice", "c")] {
        let request = site.request(reqwest::Method::POST, "/dev-hosts").header("X-User", user);
        let request = request.header("X-Correlation-ID", format!("for-{host}"));
        assert_eq!(request.json(&json!({"hostname": host})).send().await.unwrap().status(), 201);
    }
    let found = site.get("/config-audit?changed_by=alice&limit=1").await.1;
    assert_eq!((found["logs"][0]["record_id"].as_str(), found["pagination"]["total"].as_i64()), (Some("c"), Some(2)));
    assert_eq!(found["logs"][0]["correlation_id"], "for-c");
    let next = found["pagination"]["next_cursor"].as_str().unwrap();
    let rest = site.get(&format!("/config-audit?changed_by=alice&cursor={next}")).await.1;
    assert_eq!((rest["logs"][0]["record_id"].as_str(), rest["logs"].as_array().unwrap().len()), (Some("a"), 1));
    assert_eq!(site.get("/config-audit?operation=create").await.1["pagination"]["total"], 3);
    assert_eq!(site.get("/config-audit?operation=DELETE").await.1["pagination"]["total"], 0);
    assert_eq!(site.get("/config-audit?start_date=2100-01-01").await.1["pagination"]["total"], 0);
    assert!(found["logs"][0]["changed_at"].as_str().unwrap().ends_with('Z'));
    let bad = site.request(reqwest::Method::POST, "/dev-hosts").header("X-User", " ").json(&json!({"hostname": "d"}));
    assert_eq!(bad.send().await.unwrap().status(), 400);
    site.stop().await;
}
