//! Redis or PostgreSQL away, at start and in the middle.

use reqwest::Method;
use serde_json::json;

use super::{PATIENCE, Site, assert_refused, database_url, read, redis_url};
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
