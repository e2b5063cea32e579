//! `config` and `metrics`.

use mutt_queue::summary_keys;
use serde_json::json;

use super::{PATIENCE, Site, assert_refused};

#[tokio::test]
async fn a_setting_changes_in_redis_with_its_history() {
    let site = Site::start().await;
    let (status, config) = site.get("/config").await;
    assert_eq!((status, config["config"]["moog_rate_limit"].as_i64()), (200, Some(50)), "{config}");
    assert_eq!(config["config"].as_object().unwrap().len(), 7);
    let (status, changed) = site.put("/config/moog_rate_limit", json!({"value": 10, "reason": "quiet night"})).await;
    assert_eq!((status, changed["value"].as_i64()), (200, Some(10)), "{changed}");
    let stored = mutt_queue::settings::read(&site.redis, &site.keys).await.unwrap();
    assert_eq!(stored.get("moog_rate_limit").map(String::as_str), Some("10"));
    assert_eq!(site.put("/config/moog_rate_limit", json!({"value": "20"})).await.0, 200);
    assert_eq!(site.get("/config").await.1["config"]["moog_rate_limit"], 20);
    assert_eq!(site.put("/config/moog_rate_limit", json!({"value": null})).await.0, 200);
    assert_eq!(site.get("/config").await.1["config"]["moog_rate_limit"], 50);
    let history = site.get("/config/history?key=moog_rate_limit").await.1["history"].clone();
    let values: Vec<_> =
        history.as_array().unwrap().iter().map(|c| (c["old_value"].clone(), c["new_value"].clone())).collect();
    assert_eq!(values, [(json!(20), json!(null)), (json!(10), json!(20)), (json!(null), json!(10))]);
    assert_eq!(
        (history[2]["reason"].as_str(), history[2]["key"].as_str()),
        (Some("quiet night"), Some("moog_rate_limit"))
    );
    site.stop().await;
}

#[tokio::test]
async fn bad_settings_are_refused() {
    let site = Site::start().await;
    assert_refused(&site.put("/config/nothing", json!({"value": 1})).await, 404, "moog_rate_limit");
    for body in
        [json!({}), json!({"value": -1}), json!({"value": "many"}), json!({"value": [1]}), json!({"value": 1e300})]
    {
        assert_refused(&site.put("/config/moog_rate_limit", body).await, 400, "value");
    }
    assert_refused(&site.put("/config/moog_rate_limit", json!({"value": 1, "reason": 5})).await, 400, "reason");
    assert!(mutt_queue::settings::read(&site.redis, &site.keys).await.unwrap().is_empty());
    site.stop().await;
}

#[tokio::test]
async fn the_summary_reads_the_ingestors_counters() {
    let site = Site::start().await;
    let now = jiff::Timestamp::now().as_second();
    let [minute, hour, _] = summary_keys(&site.keys.metrics, now);
    for (key, count) in [(minute, "30"), (hour, "500")] {
        site.redis.query::<()>(redis::cmd("SET").arg(key).arg(count)).await.unwrap();
    }
    let (status, metrics) = site.get("/metrics").await;
    assert_eq!(status, 200);
    // The minute or hour may have turned since: then the count is in the one before.
    let rate = metrics["summary"]["current_rate_1m"].as_f64().unwrap();
    assert!((0.0..=30.0).contains(&rate), "{metrics}");
    assert!(metrics["summary"]["avg_rate_15m"].as_f64().unwrap() > 0.0);
    assert!(metrics["summary"]["avg_rate_1h"].as_f64().unwrap() > 0.0);
    let data: Vec<i64> = metrics["chart_24h"]["data"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect();
    assert_eq!((data.len(), data.iter().sum::<i64>()), (24, 500));
    assert_eq!(metrics["chart_24h"]["labels"].as_array().unwrap().len(), 24);
    site.stop().await;
}

#[tokio::test]
async fn requests_are_counted_in_redis_and_prometheus() {
    let site = Site::start().await;
    let before = jiff::Timestamp::now().as_second();
    site.get("/rules").await;
    let wait = async {
        loop {
            let now = jiff::Timestamp::now().as_second();
            let prefix = format!("{}:webui", site.keys.metrics);
            let days: Vec<String> = [before, now].iter().map(|time| summary_keys(&prefix, *time)[2].clone()).collect();
            let counts: Vec<Option<u64>> = site.redis.query(redis::cmd("MGET").arg(&days)).await.unwrap();
            if counts.iter().flatten().any(|count| *count > 0) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the counter is written");
    let text = site.bare(reqwest::Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        "mutt_webui_api_requests_total{endpoint=\"rules\",status=\"200\"} 1",
        "mutt_webui_api_latency_seconds_count{endpoint=\"rules\"} 1",
        "mutt_webui_db_query_latency_ms_count{operation=\"rules_list\"} 1",
    ] {
        assert!(text.contains(line), "{line} missing in {text}");
    }
    site.stop().await;
}
