//! `dev-hosts` and `teams`.

use reqwest::Method;
use serde_json::json;

use super::{Site, assert_refused, read};

#[tokio::test]
async fn development_hosts_come_and_go() {
    let site = Site::start().await;
    assert_eq!(site.get("/dev-hosts").await, (200, json!({"hosts": []})));
    for name in ["lab-2", "lab-1", "weird/näme & 'quote'"] {
        assert_eq!(site.post("/dev-hosts", json!({"hostname": name})).await.0, 201);
    }
    assert_refused(&site.post("/dev-hosts", json!({"hostname": "lab-1"})).await, 409, "lab-1");
    let listed = site.get("/dev-hosts").await.1;
    assert_eq!(listed["hosts"].as_array().unwrap().len(), 3);
    assert_eq!(site.delete("/dev-hosts/weird%2Fn%C3%A4me%20%26%20%27quote%27").await.0, 200);
    assert_eq!(site.delete("/dev-hosts/lab-1").await.0, 200);
    assert_refused(&site.delete("/dev-hosts/lab-1").await, 404, "lab-1");
    assert_eq!(site.get("/dev-hosts").await.1, json!({"hosts": [{"hostname": "lab-2"}]}));
    let logs = site.get("/audit?table_name=development_hosts&record_id=lab-1").await.1;
    assert_eq!(logs["pagination"]["total"], 2);
    site.stop().await;
}

#[tokio::test]
async fn bad_hosts_are_400() {
    let site = Site::start().await;
    for body in [
        json!({}),
        json!({"hostname": null}),
        json!({"hostname": ""}),
        json!({"hostname": "  "}),
        json!({"hostname": 5}),
        json!({"hostname": "a\u{0}"}),
        json!({"hostname": "x".repeat(256)}),
        json!({"hostname": "ä".repeat(200)}),
        json!({"hostname": "a\nb"}),
    ] {
        assert_refused(&site.post("/dev-hosts", body.clone()).await, 400, "hostname");
        let mut team = body;
        team["team_assignment"] = json!("NETO");
        assert_refused(&site.post("/teams", team).await, 400, "hostname");
    }
    assert_refused(&site.delete("/dev-hosts/a%00").await, 400, "hostname");
    assert_refused(&site.delete(&format!("/teams/{}", "x".repeat(300))).await, 400, "hostname");
    for team in [json!(null), json!(""), json!(1), json!("x".repeat(101))] {
        let body = json!({"hostname": "a", "team_assignment": team});
        assert_refused(&site.post("/teams", body).await, 400, "team_assignment");
    }
    site.stop().await;
}

#[tokio::test]
async fn teams_come_change_and_go() {
    let site = Site::start().await;
    let body = json!({"hostname": "core-1", "team_assignment": "NETO"});
    assert_eq!(site.post("/teams", body.clone()).await.0, 201);
    assert_refused(&site.post("/teams", body).await, 409, "core-1");
    assert_refused(&site.put("/teams/core-2", json!({"team_assignment": "X"})).await, 404, "core-2");
    assert_eq!(site.put("/teams/core-1", json!({"team_assignment": "SRE", "reason": "moved"})).await.0, 200);
    let listed = site.get("/teams").await.1;
    assert_eq!(listed, json!({"teams": [{"hostname": "core-1", "team_assignment": "SRE"}]}));
    let with_body =
        site.request(Method::DELETE, "/teams/core-1").json(&json!({"reason": "gone"})).send().await.unwrap();
    assert_eq!(read(with_body).await.0, 200);
    assert_refused(&site.delete("/teams/core-1").await, 404, "core-1");
    let logs = site.get("/audit?table_name=device_teams").await.1["logs"].clone();
    let reasons: Vec<&str> = logs.as_array().unwrap().iter().map(|log| log["reason"].as_str().unwrap_or("")).collect();
    assert_eq!(reasons, ["gone", "moved", ""]);
    assert_eq!(logs[1]["old_values"]["team_assignment"], "NETO");
    site.stop().await;
}
