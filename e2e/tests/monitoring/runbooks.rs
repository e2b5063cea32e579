//! `manifests/prometheus/runbooks.md`: a section for each alert, and none besides.

use std::{collections::BTreeSet, fs};

use mutt_e2e::repository;

use crate::sources;

/// What the person who was woken needs, in this order.
const PARTS: [&str; 5] = ["**Means.**", "**Impact.**", "**Look.**", "**Mend.**", "**Over.**"];

fn page() -> String {
    fs::read_to_string(repository().join("manifests/prometheus/runbooks.md")).unwrap()
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let page = page();
    let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    let unique: BTreeSet<_> = sections.iter().cloned().collect();
    assert_eq!(unique.len(), sections.len(), "a section stands twice: {sections:?}");
    assert_eq!(unique, sources::alerts());
}

#[test]
fn every_runbook_says_all_five_things() {
    let page = page();
    for section in page.split("\n## ").skip(1) {
        let alert = section.lines().next().unwrap();
        let places: Vec<_> = PARTS.iter().map(|part| section.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{alert}: {PARTS:?} at {places:?}");
    }
}

#[test]
fn links_of_alerts_lead_to_their_sections() {
    for rules in [sources::standalone(), sources::of_a_pipeline(), sources::of_the_operator()] {
        for rule in sources::rules(&rules) {
            let Some(alert) = rule["alert"].as_str() else { continue };
            let link = rule["annotations"]["runbook_url"].as_str().unwrap();
            let (page, anchor) = link.split_once('#').unwrap();
            assert!(page.ends_with("/manifests/prometheus/runbooks.md"), "{alert}: {page}");
            // How GitHub and its like make anchors of one word.
            assert_eq!(anchor, alert.to_lowercase());
        }
    }
}
