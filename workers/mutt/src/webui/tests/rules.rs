//! `rules`.

use mutt_queue::Notice;
use serde_json::{Value, json};

use super::{PATIENCE, Site, assert_refused};
use crate::rulesource;

fn rule(text: &str) -> Value {
    json!({"match_string": text, "match_type": "contains", "priority": 10, "prod_handling": "Page_and_ticket",
           "dev_handling": "Ticket_only", "team_assignment": "NETO", "reason": "a test"})
}

#[tokio::test]
async fn a_rule_lives_from_post_to_delete_and_each_step_is_audited_and_announced() {
    let site = Site::start().await;
    let (status, made) = site.post("/rules", rule("LINK-3-UPDOWN")).await;
    assert_eq!((status, made["message"].as_str()), (201, Some("Rule created successfully")), "{made}");
    let id = made["id"].as_i64().unwrap();
    let path = format!("/rules/{id}");
    let announced: Option<String> = site.redis.query(redis::cmd("GET").arg(&site.keys.rules_current)).await.unwrap();
    let first = rulesource::load_postgres(&site.pool).await.unwrap().revision;
    assert_eq!(announced.as_deref(), Some(first.as_str()), "the change is announced before it is answered");

    let (status, listed) = site.get("/rules").await;
    assert_eq!(status, 200);
    let expected = json!({"id": id, "name": null, "match_string": "LINK-3-UPDOWN", "trap_oid": null,
        "syslog_severity": null, "match_type": "contains", "priority": 10, "prod_handling": "Page_and_ticket",
        "dev_handling": "Ticket_only", "team_assignment": "NETO", "is_active": true});
    assert_eq!(listed, json!({"rules": [expected]}));
    assert_eq!(site.get(&path).await, (200, listed["rules"][0].clone()));

    let change = json!({"priority": 5, "syslog_severity": 3, "hosts": ["core-*"], "name": "link-updown"});
    assert_eq!(site.put(&path, change).await.0, 200);
    let changed = site.get(&path).await.1;
    assert_eq!((changed["priority"].as_i64(), changed["hosts"][0].as_str()), (Some(5), Some("core-*")));
    assert_eq!(changed["match_string"], "LINK-3-UPDOWN", "what a PUT does not name stays");
    let second = rulesource::load_postgres(&site.pool).await.unwrap().revision;
    assert_ne!(first, second);

    assert_eq!(site.delete(&format!("{path}?reason=no%20longer%20needed")).await.0, 200);
    assert_refused(&site.get(&path).await, 404, "no rule");
    assert_refused(&site.delete(&path).await, 404, "no rule");

    let logs = site.get("/config-audit?table_name=alert_rules").await.1["logs"].clone();
    let steps: Vec<(&str, &str, &str)> = logs
        .as_array()
        .unwrap()
        .iter()
        .map(|log| {
            (
                log["operation"].as_str().unwrap(),
                log["changed_by"].as_str().unwrap(),
                log["reason"].as_str().unwrap_or(""),
            )
        })
        .collect();
    let key = "WEBUI_API_KEY";
    assert_eq!(steps, [("DELETE", key, "no longer needed"), ("UPDATE", key, ""), ("CREATE", key, "a test")]);
    assert_eq!(
        (logs[1]["old_values"]["priority"].as_i64(), logs[1]["new_values"]["priority"].as_i64()),
        (Some(10), Some(5))
    );
    assert_eq!(logs[0]["record_id"], json!(id.to_string()));
    site.stop().await;
}

#[tokio::test]
async fn alerters_hear_of_a_change_on_both_channels() {
    let site = Site::start().await;
    let mut subscription = site.redis.subscribe(site.keys.reload_channels());
    let mut heard = Vec::new();
    let listen = async {
        loop {
            match subscription.next().await {
                // A second one after a lost connection finds the rule there (409).
                Notice::Resubscribed => drop(site.post("/rules", rule("A")).await),
                Notice::Message { channel, payload } => heard.push((channel, payload)),
            }
            // Other tests publish on the channel without a prefix.
            let revision = rulesource::load_postgres(&site.pool).await.unwrap().revision;
            let own = |channel: &String| {
                heard.iter().any(|(on, what)| on == channel && *what == revision.as_str().as_bytes())
            };
            if site.keys.reload_channels().iter().all(own) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, listen).await.expect("both channels carry the revision");
    site.stop().await;
}

#[tokio::test]
async fn conflicts_are_409_and_change_nothing() {
    let site = Site::start().await;
    let mut named = rule("A");
    named["name"] = json!("rule-a");
    let id = site.post("/rules", named.clone()).await.1["id"].clone();
    named["match_string"] = json!("B");
    assert_refused(&site.post("/rules", named).await, 409, "rule-a");
    assert_refused(&site.post("/rules", rule("A")).await, 409, &format!("rule {id}"));
    let mut other = rule("A");
    other["priority"] = json!(11);
    let (status, made) = site.post("/rules", other).await;
    assert_eq!(status, 201, "another priority may be meant: {made}");
    let path = format!("/rules/{}", made["id"]);
    assert_refused(&site.put(&path, json!({"priority": 10})).await, 409, "same criteria");
    assert_refused(&site.put(&path, json!({"name": "rule-a"})).await, 409, "rule-a");
    assert_eq!(site.put(&path, json!({"priority": 10, "is_active": false})).await.0, 200);
    assert_eq!(site.get("/rules").await.1["rules"].as_array().unwrap().len(), 2);
    site.stop().await;
}

#[tokio::test]
async fn bad_rules_are_400_with_the_fields_name() {
    let site = Site::start().await;
    for (field, value) in [
        ("match_type", json!("wildcard")),
        ("match_string", json!(12)),
        ("match_string", json!("a\u{0}b")),
        ("match_string", json!("x".repeat(100_000))),
        ("priority", json!("high")),
        ("priority", json!(99_999_999_999_i64)),
        ("syslog_severity", json!(8)),
        ("team_assignment", json!("x".repeat(101))),
        ("prod_handling", json!("")),
        ("is_active", json!("yes")),
        ("hosts", json!([1])),
        ("name", json!("Robert'); DROP TABLE alert_rules;--")),
    ] {
        let mut body = rule("A");
        body[field] = value;
        assert_refused(&site.post("/rules", body).await, 400, field);
    }
    let mut body = rule("(unclosed");
    body["match_type"] = json!("regex");
    assert_refused(&site.post("/rules", body).await, 400, "match_string");
    for id in ["0", "-1", "abc", "1.5", "99999999999999999999", "2147483648", "1;DROP", "%00", "%F0%9F%92%A9"] {
        assert_refused(&site.get(&format!("/rules/{id}")).await, 400, "id");
    }
    assert_refused(&site.get("/rules/%FF").await, 400, "UTF-8");
    assert_refused(&site.put("/rules/7", json!({"priority": 1})).await, 404, "no rule");
    assert_eq!(site.get("/rules").await.1, json!({"rules": []}));
    site.stop().await;
}

#[tokio::test]
async fn unusual_texts_come_back_as_they_were_sent() {
    let site = Site::start().await;
    for text in ["'; DROP TABLE alert_rules; --", "дверь 🚪 открыта", "a  b\tc", "100% \\d [x] $1", "\u{202e}rtl"]
    {
        let (status, made) = site.post("/rules", rule(text)).await;
        assert_eq!(status, 201, "{made}");
        assert_eq!(site.get(&format!("/rules/{}", made["id"])).await.1["match_string"], json!(text));
    }
    site.stop().await;
}

#[tokio::test]
async fn where_postgres_is_not_the_record_changes_are_409_and_name_it() {
    let site = Site::start_with(&[("RULES_SOURCE", "redis")]).await;
    assert_eq!(site.get("/rules").await, (200, json!({"rules": []})), "nothing is published yet");
    let spec = json!({"match": {"message": {"contains": "x"}}, "team": "T",
                      "handling": {"production": "Ignore", "development": "Ignore"}});
    let published = mutt_rules::Rule { id: None, name: "ns/one".into(), spec: serde_json::from_value(spec).unwrap() };
    let set = mutt_rules::RuleSet::new(vec![published], ["lab-7".to_owned()], []);
    assert!(rulesource::publish_bundle(&site.redis, &site.keys, 1, &set).await.unwrap());
    let listed = site.get("/rules").await.1["rules"].clone();
    assert_eq!((listed[0]["name"].as_str(), listed[0]["match_string"].as_str()), (Some("ns/one"), Some("x")));
    assert_eq!(site.get("/dev-hosts").await.1, json!({"hosts": [{"hostname": "lab-7"}]}));
    assert_refused(&site.post("/rules", rule("A")).await, 409, "AlertRule");
    assert_refused(&site.put("/rules/1", json!({"priority": 1})).await, 409, "kubectl apply");
    assert_refused(&site.delete("/rules/1").await, 409, "AlertRule");
    assert_refused(&site.post("/dev-hosts", json!({"hostname": "a"})).await, 409, "MuttPipeline");
    assert_refused(&site.delete("/teams/a").await, 409, "MuttPipeline");
    assert_refused(&site.put("/config/moog_rate_limit", json!({"value": 1})).await, 409, "MuttPipeline");
    site.stop().await;
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/samples/rules");
    let site = Site::start_with(&[("RULES_SOURCE", "dir"), ("RULES_DIR", samples)]).await;
    let listed = site.get("/rules").await.1;
    assert!(listed["rules"].as_array().unwrap().len() >= 10, "{listed}");
    assert_eq!((&listed["rules"][0]["id"], listed["rules"][0]["is_active"].as_bool()), (&Value::Null, Some(true)));
    assert!(site.get("/dev-hosts").await.1["hosts"].as_array().unwrap().contains(&json!({"hostname": "lab-1"})));
    let team = json!({"hostname": "core-1", "team_assignment": "NETO"});
    assert!(site.get("/teams").await.1["teams"].as_array().unwrap().contains(&team));
    assert_refused(&site.post("/rules", rule("A")).await, 409, "RULES_DIR");
    assert_eq!(site.put("/config/moog_rate_limit", json!({"value": 1})).await.0, 200);
    site.stop().await;
}

#[tokio::test]
async fn a_row_that_is_no_rule_is_shown_with_its_error() {
    let site = Site::start().await;
    site.sql(
        "INSERT INTO alert_rules (match_string, prod_handling, dev_handling, team_assignment, spec) \
         VALUES ('a', 'Ignore', 'Ignore', 'T', '{\"hosts\": 5}')",
    )
    .await;
    let listed = site.get("/rules").await.1;
    assert!(listed["rules"][0]["error"].as_str().unwrap().contains("spec"), "{listed}");
    let path = format!("/rules/{}", listed["rules"][0]["id"]);
    assert_eq!(site.get(&path).await.0, 200);
    assert_refused(&site.put(&path, json!({"priority": 1})).await, 409, "no rule");
    assert_eq!(site.delete(&path).await.0, 200);
    site.stop().await;
}
