//! The readable copy.

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use mutt_rules::{Object, RuleSet, parse_documents};
use serde_json::json;

use crate::site::{Site, eventually};

/// The rule set that `mutt rules apply` would read from the ConfigMaps.
async fn copied(site: &Site) -> Result<RuleSet, String> {
    let maps = site.config_maps().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let copies = maps.items.into_iter().filter(|map| map.name_any().starts_with("core-rules-"));
    let texts = copies.flat_map(|map| map.data.unwrap_or_default().into_values());
    let documents = texts.flat_map(|text| parse_documents(&text, "copy").unwrap());
    Ok(RuleSet::from_documents(documents.filter(|document| match &document.object {
        Object::AlertRule(rule) => rule.metadata.namespace.is_some(),
        Object::MuttPipeline(_) => true,
    })))
}

#[tokio::test]
async fn the_readable_copy_is_the_rule_set_that_is_served_and_comes_back_when_deleted() {
    let mut site = Site::new("copy").await;
    site.start();
    site.pipeline("core", json!({"developmentHosts": ["lab-1"], "teams": [{"team": "NETO", "hosts": ["core-1"]}]}))
        .await;
    site.rule("one", json!({}), "a \"quoted\" text: with # all").await;
    site.rule("two", json!({}), "regex=flap+").await;
    site.until_served(&["one:a \"quoted\" text: with # all", "two:flap+"]).await;
    let keys = site.keys();
    let as_served = async || {
        eventually(async || {
            let revision = mutt_queue::served_rules::current(&site.redis, &keys).await.unwrap().unwrap();
            let copy = copied(&site).await?;
            if copy.revision().as_str() == revision {
                Ok(())
            } else {
                Err(format!("the copy is as served; seen {copy:?}"))
            }
        })
        .await;
    };
    as_served().await;
    let map = site.config_maps().get("core-rules-0").await.unwrap();
    assert_eq!(map.metadata.owner_references.unwrap()[0].uid, site.uid_of("core").await);
    assert_eq!(map.metadata.labels.unwrap().get("mutt.dev/pipeline"), None, "not the pipeline half's to remove");
    // Deleted or changed by hand: back at once.
    site.config_maps().delete("core-rules-0", &DeleteParams::default()).await.unwrap();
    as_served().await;
    let patch = kube::api::Patch::Merge(json!({"data": {"rules.yaml": ""}}));
    site.config_maps().patch("core-rules-0", &kube::api::PatchParams::default(), &patch).await.unwrap();
    as_served().await;
    // A change follows after a quiet time.
    site.delete_rule("two").await;
    site.until_served(&["one:a \"quoted\" text: with # all"]).await;
    as_served().await;
    site.stop().await;
}

#[tokio::test]
async fn a_config_map_of_somebody_else_in_the_way_of_the_copy_is_left_alone_and_told() {
    let mut site = Site::new("foreign").await;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "core-rules-0"},
                        "data": {"rules.yaml": "theirs"}});
    let (parameters, patch) = (kube::api::PatchParams::apply("somebody"), kube::api::Patch::Apply(theirs));
    let before = site.config_maps().patch("core-rules-0", &parameters, &patch).await.unwrap();
    site.start();
    site.pipeline("core", json!({})).await;
    site.rule("one", json!({}), "down").await;
    site.until_served(&["one:down"]).await;
    let is_told = |state: &mutt_operator::rules::RulesState| {
        state.cluster_error.as_ref().is_some_and(|error| error.contains("core-rules-0"))
    };
    site.board("core", "it is in the way", is_told).await;
    assert_eq!(site.config_maps().get("core-rules-0").await.unwrap(), before);
    site.config_maps().delete("core-rules-0", &DeleteParams::default()).await.unwrap();
    site.board("core", "nothing is in the way", |state| state.cluster_error.is_none()).await;
    assert!(copied(&site).await.unwrap().rules().iter().any(|rule| rule.name.ends_with("/one")));
    site.stop().await;
}
