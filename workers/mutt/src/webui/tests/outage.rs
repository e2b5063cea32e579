//! Redis or PostgreSQL away, at start and in the middle.

use reqwest::Method;
use serde_json::json;

use super::{KEY, PATIENCE, Site, assert_refused, database_url, read, redis_url};
use mutt_servers::RedisServer;

async fn ready(site: &Site) -> u16 {
    site.bare(Method::GET, "/ready").send().await.unwrap().status().as_u16()
}

async fn wait_ready(site: &Site, status: u16) {
    let wait = async {
        while ready(site).await != status {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("/ready does not become {status}"));
}

#[tokio::test]
async fn without_servers_it_serves_and_says_so() {
    // Nothing listens on port 1 (tcpmux), and nobody's server can be given it meanwhile.
    let (redis, database) = ("redis://127.0.0.1:1", "postgres://m@127.0.0.1:1/m?sslmode=disable");
    let site = Site::start_on(redis, database, &[]).await;
    assert_eq!(site.bare(Method::GET, "/live").send().await.unwrap().status(), 200);
    assert_eq!(ready(&site).await, 503);
    let response = site.request(Method::GET, "/metrics").send().await.unwrap();
    assert!(response.headers().contains_key("retry-after"));
    assert_refused(&read(response).await, 503, "Redis");
    assert_refused(&site.get("/rules").await, 503, "PostgreSQL");
    assert_refused(&site.post("/dev-hosts", json!({"hostname": "a"})).await, 503, "PostgreSQL");
    assert_refused(&site.post("/dev-hosts", json!({"hostname": ""})).await, 400, "hostname");
    site.stop().await;
}

#[tokio::test]
async fn redis_may_go_and_come() {
    let redis = RedisServer::start().await.unwrap();
    let site = Site::start_on(&redis.url(), &database_url().await, &[]).await;
    wait_ready(&site, 200).await;
    redis.stop().await.unwrap();
    wait_ready(&site, 503).await;
    assert_refused(&site.get("/config").await, 503, "Redis");
    assert_refused(&site.put("/config/moog_rate_limit", json!({"value": 5})).await, 503, "Redis");
    let (status, _) = site.post("/dev-hosts", json!({"hostname": "kept"})).await;
    assert_eq!(status, 201, "PostgreSQL is the record; the alerters poll it");
    redis.restart().await.unwrap();
    wait_ready(&site, 200).await;
    assert_eq!(site.put("/config/moog_rate_limit", json!({"value": 5})).await.0, 200);
    assert_eq!(site.get("/config/history").await.1["pagination"]["total"], 1, "the failed change left no trace");
    site.stop().await;
}

#[tokio::test]
async fn a_database_without_the_schema_is_503_with_what_to_do() {
    let server = mutt_servers::PostgresServer::shared().await.unwrap();
    let empty = server.fresh_database().await.unwrap();
    let site = Site::start_on(&redis_url().await, &empty, &[]).await;
    assert_refused(&site.get("/rules").await, 503, "mutt db migrate");
    assert_refused(&site.get("/audit-logs").await, 503, "mutt db migrate");
    site.stop().await;
}

#[tokio::test]
async fn without_prometheus_the_objectives_are_unknown_and_say_why() {
    let prometheus = format!("http://127.0.0.1:{}", mutt_servers::free_port().unwrap());
    let site = Site::start_with(&[("PROMETHEUS_URL", &prometheus)]).await;
    for path in ["/api/v1/slo", "/api/v2/slo"] {
        let (status, body) = read(site.bare(Method::GET, path).header("X-API-KEY", KEY).send().await.unwrap()).await;
        assert_eq!(status, 200, "{body}");
        assert!(body["timestamp"].as_str().unwrap().ends_with('Z'), "{body}");
        let slos = body["slos"].as_array().unwrap();
        let names: Vec<&str> = slos.iter().map(|slo| slo["slo_name"].as_str().unwrap()).collect();
        assert_eq!(names, ["ingest_availability", "ingest_latency", "accepted_to_audited", "accepted_to_delivered"]);
        for slo in slos {
            assert_eq!((slo["status"].as_str(), slo["window_hours"].as_u64()), (Some("unknown"), Some(720)));
            assert!(slo["actual_value"].is_null() && slo["burn_rate"].is_null(), "{slo}");
            assert!(slo["message"].as_str().unwrap().contains(&prometheus), "{slo}");
        }
    }
    site.stop().await;
}
