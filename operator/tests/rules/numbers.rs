//! How much is written.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt};
use kube::ResourceExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use mutt_servers::{RedisOptions, RedisServer, Reply};
use serde_json::json;

use crate::site::{Site, client_of, eventually};

const RULES: usize = 150;

#[tokio::test]
async fn many_rules_at_once_cost_at_most_two_writes_each() {
    let mut site = Site::new("many").await;
    let _alerters = [site.alerter("a"), site.alerter("b")];
    site.pipeline("core", json!({})).await;
    site.start();
    site.board("core", "the empty set is in use", |state| state.alerters() == "2/2").await;
    let listed = site.rules().list(&ListParams::default()).await.unwrap();
    let version = listed.metadata.resource_version.unwrap();
    let names: Vec<String> = (0..RULES).map(|number| format!("r{number}")).collect();
    let apply = |name: String| {
        let site = &site;
        async move { site.rule(&name, json!({}), &format!("message {name}.")).await }
    };
    futures_util::stream::iter(names.clone()).for_each_concurrent(8, apply).await;
    site.board("core", "all active", |state| state.active == RULES && state.alerters() == "2/2").await;
    for name in &names {
        site.until(name, "Accepted/Active core=2/2").await;
    }
    // The last write is the one that was just seen, so all are in the history.
    let latest = site.rules().list(&ListParams::default()).await.unwrap();
    let last: HashMap<String, String> =
        latest.items.iter().map(|rule| (rule.name_any(), rule.resource_version().unwrap())).collect();
    let mut writes: HashMap<String, usize> = HashMap::new();
    let mut open = last.len();
    let history = site.rules().watch(&WatchParams::default().timeout(60), &version).await.unwrap();
    let mut history = std::pin::pin!(history);
    while open > 0 {
        let event = history.try_next().await.unwrap().expect("the history holds all writes");
        if let WatchEvent::Added(rule) | WatchEvent::Modified(rule) = event {
            open -= usize::from(last[&rule.name_any()] == rule.resource_version().unwrap());
            *writes.entry(rule.name_any()).or_default() += usize::from(rule.status.is_some());
        }
    }
    let total: usize = writes.values().sum();
    assert!(total <= 2 * RULES, "{total} status writes for {RULES} rules");
    assert!(site.sequence().await <= 2 + RULES as u64, "publications are gathered");
    site.stop().await;
}

/// Scripts that were run on a server that only one test uses.
async fn scripts(server: &RedisServer) -> u64 {
    let Reply::Text(stats) = server.command(&["INFO", "commandstats"]).await.unwrap() else { panic!() };
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).map(str::to_owned);
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn in_the_steady_state_nothing_is_written() {
    let cluster = mutt_cluster::ControlPlane::shared().await.unwrap();
    let server = RedisOptions::new().without_persistence().start().await.unwrap();
    let mut site = Site::on(client_of(cluster).await, &server.url(), "steady").await;
    let alerter = site.alerter("a");
    site.start();
    site.pipeline("core", json!({})).await;
    for (name, text, expected) in
        [("one", "x", "Accepted/Active core=1/1"), ("two", "regex=(", "Invalid/Rejected core=-")]
    {
        site.rule(name, json!({}), text).await;
        site.until(name, expected).await;
    }
    // The readable copy is the last that is written.
    eventually(async || match site.config_maps().get_opt("core-rules-0").await.unwrap() {
        Some(_) => Ok(()),
        None => Err("the readable copy".to_owned()),
    })
    .await;
    let versions = async || -> Vec<(String, Option<String>)> {
        let rules = site.rules().list(&ListParams::default()).await.unwrap().items;
        let maps = site.config_maps().list(&ListParams::default()).await.unwrap().items;
        let rules = rules.into_iter().map(|rule| (rule.name_any(), rule.resource_version()));
        rules.chain(maps.into_iter().map(|map| (map.name_any(), map.resource_version()))).collect()
    };
    // The alerter's heartbeats are scripts, too.
    drop(alerter);
    let before = (versions().await, site.sequence().await);
    let begun = scripts(&server).await;
    eventually(async || {
        let passed = scripts(&server).await - begun;
        if passed >= 4 { Ok(()) } else { Err(format!("four looks of the operator at Redis; seen {passed}")) }
    })
    .await;
    assert_eq!((versions().await, site.sequence().await), before);
    site.stop().await;
}
