//! Rules, development hosts and teams whose record is not PostgreSQL: read where the alerters read them, so that the
//! API shows what is in use.

use mutt_rules::{AlertRule, RuleSet};

use super::Api;
use super::error::ApiError;
use crate::rules::{self, row::RuleColumns};
use crate::rulesource::{self, RuleSourceError};
use crate::settings::RulesSource;

/// The rule set, or `None` where PostgreSQL is the record.
pub(crate) async fn rule_set(api: &Api) -> Result<Option<RuleSet>, ApiError> {
    match &api.rules_source {
        RulesSource::Postgres => Ok(None),
        RulesSource::Directory(path) => {
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || rules::read_directory(&path)).await;
            read.map(Some).map_err(|error| ApiError::Internal(error.to_string()))
        }
        RulesSource::Redis => match rulesource::load_bundle(&api.redis, &api.keys).await {
            Ok(loaded) => Ok(Some(loaded.set)),
            Err(RuleSourceError::NoBundle) => Ok(Some(RuleSet::default())),
            Err(RuleSourceError::Redis(error)) => Err(error.into()),
            Err(error) => Err(ApiError::Unavailable(format!("the rules in use cannot be read: {error}"))),
        },
    }
}

/// The rules of a set as rows, in the order in which they are tried.
pub(crate) fn rows(set: &RuleSet) -> impl Iterator<Item = RuleColumns> {
    set.rules().iter().map(|rule| {
        let alert_rule = AlertRule::new(rule.name.clone(), None, rule.spec.clone());
        RuleColumns::from_alert_rule(&alert_rule)
    })
}
