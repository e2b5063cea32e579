//! Rules from PostgreSQL: one snapshot of the three tables.

use mutt_rules::{AlertRuleSpec, AlertSeverity, Handling, Match, Mode, Rule, RuleError, RuleSet};
use sqlx::postgres::PgRow;
use sqlx::{Connection, Executor, PgPool, Row};

use super::{Loaded, RuleSourceError};
use crate::rules::row::RuleColumns;

/// Reads rules, development hosts and teams as they are at one moment.
///
/// # Errors
/// When PostgreSQL does not answer. A row that is no rule is reported in [`Loaded::unreadable`], not here.
pub(crate) async fn load(pool: &PgPool) -> Result<Loaded, RuleSourceError> {
    let mut connection = pool.acquire().await?;
    let mut snapshot = connection.begin().await?;
    snapshot.execute(sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")).await?;
    let counter = sqlx::query_scalar("SELECT counter FROM rules_change").fetch_one(&mut *snapshot).await?;
    let rows = sqlx::query(
        "SELECT id, name, match_string, trap_oid, syslog_severity, match_type, priority, prod_handling, dev_handling,
                team_assignment, is_active, spec
         FROM alert_rules ORDER BY id",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    let hosts: Vec<String> =
        sqlx::query_scalar("SELECT hostname::text FROM development_hosts ORDER BY 1").fetch_all(&mut *snapshot).await?;
    let teams: Vec<(String, String)> =
        sqlx::query_as("SELECT hostname::text, team_assignment::text FROM device_teams ORDER BY 1")
            .fetch_all(&mut *snapshot)
            .await?;
    snapshot.commit().await?;

    let mut unreadable = Vec::new();
    let rules = rows.iter().map(|row| rule(row, &mut unreadable)).collect::<Result<Vec<_>, _>>()?;
    let set = RuleSet::new(rules, hosts, teams);
    let revision = set.revision();
    Ok(Loaded { set, revision, unreadable, counter })
}

/// The counter that every change of the three tables raises.
pub(super) async fn counter(pool: &PgPool) -> Result<i64, RuleSourceError> {
    Ok(sqlx::query_scalar("SELECT counter FROM rules_change").fetch_one(pool).await?)
}

fn rule(row: &PgRow, unreadable: &mut Vec<RuleError>) -> Result<Rule, RuleSourceError> {
    match RuleColumns::read(row) {
        Ok((id, columns)) => Ok(columns.rule(id)),
        Err(error) => {
            let id = row.try_get("id")?;
            let name = row.try_get::<Option<String>, _>("name")?.unwrap_or_else(|| i32::to_string(&id));
            unreadable.push(RuleError {
                rule: name.clone(),
                id: Some(id),
                reason: error.to_string(),
                last_good_in_use: false,
            });
            Ok(Rule { id: Some(id), name, spec: stand_in() })
        }
    }
}

/// The spec of a row that is no rule: it compiles never, so that the rule's last good form stays in use, and it is
/// the same in every worker, so that all agree on the revision.
fn stand_in() -> AlertRuleSpec {
    AlertRuleSpec {
        description: "unreadable".to_owned(),
        priority: 100,
        enabled: true,
        mode: Mode::Active,
        matches: Match::default(),
        handling: Handling::default(),
        severity: AlertSeverity::default(),
        team: String::new(),
        tests: Vec::new(),
    }
}
