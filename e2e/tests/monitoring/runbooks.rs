//! `manifests/prometheus/runbooks.md`: a section for each alert, and none besides; what it tells to type works.

use std::{collections::BTreeSet, fs};

use mutt_e2e::{Pipeline, Role, output_of, repository};

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
            let base = page.strip_suffix("manifests/prometheus/runbooks.md");
            assert!(
                base.is_some_and(|base| ["", "https://git.example.net/mutt/blob/main/"].contains(&base)),
                "{alert}: {page}"
            );
            // How GitHub and its like make anchors of one word.
            assert_eq!(anchor, alert.to_lowercase());
        }
    }
}

/// What stands between backquotes and begins with this word; line ends count as blanks.
fn typed(first: &str) -> BTreeSet<String> {
    let page = page();
    let blocks = page.split("\n```");
    // Every second one is a block of code.
    let text = blocks.step_by(2).collect::<String>().replace('\n', " ");
    let spans = text.split('`').skip(1).step_by(2).map(str::to_owned);
    spans.filter(|span| span.split(' ').next() == Some(first)).collect()
}

/// Ends with 64 where the command is used wrongly or, without a terminal, asks back; `kubectl exec` and scripts have none.
const WRONG_USE: Option<i32> = Some(64);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_understood_by_the_real_thing() {
    let pipeline = Pipeline::start().await;
    let ingestor = pipeline.run(Role::Ingestor).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("mutt.env");
    let lines: Vec<_> = pipeline.settings().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(&settings, lines.concat()).unwrap();
    let rules = repository().join("manifests/samples/rules");
    let sender = [&[("INGEST_URL".to_owned(), ingestor.url())], pipeline.settings()].concat();

    let commands = typed("mutt");
    assert!(commands.len() > 12, "{commands:?}");
    for command in &commands {
        let place = |word: &str| match word {
            "DIR" => rules.display().to_string(),
            "rule.yaml" => rules.join("link-down-trap.yaml").display().to_string(),
            _ => word.to_owned(),
        };
        let mut words: Vec<_> = command.split(' ').skip(1).map(place).collect();
        if command.ends_with(" --watch") {
            // It would not end.
            words.push("--help".to_owned());
        }
        let is_sender = words[0] == "send";
        if !is_sender {
            // As the function at the top of the page.
            words.extend(["--settings".to_owned(), settings.display().to_string()]);
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let output = output_of(&words, if is_sender { &sender } else { &[] }).await;
        assert!(output.status.code().is_some() && output.status.code() != WRONG_USE, "{command}: {output:?}");
    }
    // What is wrong is seen, also by the one that is only asked for help.
    for wrong in [&["status", "--watsch", "--help"][..], &["dlq", "purge", "ingest"]] {
        assert_eq!(output_of(wrong, pipeline.settings()).await.status.code(), WRONG_USE, "{wrong:?}");
    }
}

#[tokio::test]
async fn queries_are_understood_by_postgresql() {
    let pipeline = Pipeline::start().await;
    let queries = typed("SELECT");
    assert!(queries.len() > 3, "{queries:?}");
    for query in queries {
        pipeline.sql(&query.replace("SELECT \u{2026}", "SELECT *").replace('\u{2026}', "now()")).await;
    }
}
