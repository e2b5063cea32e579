//! The sample rules, development hosts and teams of `manifests/samples/rules`, for an empty private database.

use mutt_rules::{Object, PipelineSpecView, parse_documents};
use sqlx::PgPool;

use crate::{
    rules::{change::Author, row::RuleColumns, table},
    worker::Fatal,
};

macro_rules! sample {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../manifests/samples/rules/", $name)))
    };
}

/// The files, embedded so that the binary works anywhere.
const FILES: &[(&str, &str)] = &[
    sample!("bgp-backward-transition.yaml"),
    sample!("bgp-neighbor-down.yaml"),
    sample!("configuration-changed.yaml"),
    sample!("interface-flapping.yaml"),
    sample!("link-down-trap.yaml"),
    sample!("login-failures.yaml"),
    sample!("ospf-adjacency-lost.yaml"),
    sample!("out-of-memory-kill.yaml"),
    sample!("pipeline.yaml"),
    sample!("power-supply-failed.yaml"),
    sample!("ups-on-battery.yaml"),
];

/// Loads the samples in one transaction if `alert_rules` is empty; returns the number of rules loaded.
pub(super) async fn load(pool: &PgPool) -> Result<usize, Fatal> {
    insert(pool).await.map_err(|error| Fatal::failed("load the sample rules", error))
}

async fn insert(pool: &PgPool) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    let mut transaction = pool.begin().await?;
    let empty: bool =
        sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM alert_rules)").fetch_one(&mut *transaction).await?;
    if !empty {
        return Ok(0);
    }
    let author = Author { changed_by: "mutt dev".into(), reason: Some("sample rules".into()), correlation_id: None };
    let mut count = 0;
    for (name, text) in FILES {
        for document in parse_documents(text, name)? {
            match document.object {
                Object::AlertRule(rule) => {
                    table::insert(&mut transaction, &author, &RuleColumns::from_alert_rule(&rule)).await?;
                    count += 1;
                }
                Object::MuttPipeline(pipeline) => insert_hosts(&mut transaction, &pipeline.spec).await?,
            }
        }
    }
    transaction.commit().await?;
    Ok(count)
}

async fn insert_hosts(connection: &mut sqlx::PgConnection, pipeline: &PipelineSpecView) -> Result<(), sqlx::Error> {
    for host in &pipeline.development_hosts {
        sqlx::query("INSERT INTO development_hosts (hostname) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(host)
            .execute(&mut *connection)
            .await?;
    }
    for (host, team) in pipeline.device_teams() {
        sqlx::query("INSERT INTO device_teams (hostname, team_assignment) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(host)
            .bind(team)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded_valid_and_passes_its_own_tests() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/samples/rules");
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, text) in FILES {
            for document in parse_documents(text, name).unwrap() {
                let Object::AlertRule(rule) = document.object else { continue };
                assert_eq!(mutt_rules::validate(&rule.spec), [], "{name}");
                assert!(rule.spec.tests.len() >= 2, "{name} has no tests");
                assert_eq!(mutt_rules::run_tests(&rule.spec), Vec::new(), "{name}");
            }
        }
    }
}
