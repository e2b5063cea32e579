//! The statements on `alert_rules`, for the API and the command line. Each change takes its row of the
//! configuration audit with it; the caller commits and announces.

use sqlx::{PgConnection, PgExecutor};

use super::change::{Author, Target, record};
use super::row::{RowError, RuleColumns};

/// Name of the table in the configuration audit.
pub(crate) const TABLE: &str = "alert_rules";

/// All rules in the order in which they are tried. A row that is no rule stands as its error.
pub(crate) async fn all(
    executor: impl PgExecutor<'_>,
) -> Result<Vec<(i32, Result<RuleColumns, RowError>)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, name, match_string, trap_oid, syslog_severity, match_type, priority, prod_handling, \
         dev_handling, team_assignment, is_active, spec FROM alert_rules ORDER BY priority, id",
    )
    .fetch_all(executor)
    .await?;
    rows.iter()
        .map(|row| {
            let id = sqlx::Row::try_get(row, "id")?;
            Ok((id, RuleColumns::read(row).map(|(_, columns)| columns)))
        })
        .collect()
}

/// One rule, if it is there.
pub(crate) async fn one(executor: impl PgExecutor<'_>, id: i32, lock: bool) -> Result<Option<RuleColumns>, RowError> {
    let statement = if lock {
        "SELECT id, name, match_string, trap_oid, syslog_severity, match_type, priority, prod_handling, \
         dev_handling, team_assignment, is_active, spec FROM alert_rules WHERE id = $1 FOR UPDATE"
    } else {
        "SELECT id, name, match_string, trap_oid, syslog_severity, match_type, priority, prod_handling, \
         dev_handling, team_assignment, is_active, spec FROM alert_rules WHERE id = $1"
    };
    let row = sqlx::query(statement).bind(id).fetch_optional(executor).await?;
    Ok(row.as_ref().map(RuleColumns::read).transpose()?.map(|(_, columns)| columns))
}

/// Makes a rule; returns its id.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    author: &Author,
    rule: &RuleColumns,
) -> Result<i32, RowError> {
    let id: i32 = sqlx::query_scalar(
        "INSERT INTO alert_rules (name, match_string, trap_oid, syslog_severity, match_type, priority, \
         prod_handling, dev_handling, team_assignment, is_active, spec) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id",
    )
    .bind(&rule.name)
    .bind(&rule.match_string)
    .bind(&rule.trap_oid)
    .bind(rule.syslog_severity)
    .bind(rule.match_type.word())
    .bind(rule.priority)
    .bind(&rule.prod_handling)
    .bind(&rule.dev_handling)
    .bind(&rule.team_assignment)
    .bind(rule.is_active)
    .bind(rule.spec_column()?)
    .fetch_one(&mut *connection)
    .await?;
    let new = Some(rule.audit_value()?);
    record(connection, author, target(&id.to_string()), None, new).await?;
    Ok(id)
}

/// Replaces a rule's columns. `old` is the row before, for the configuration audit.
pub(crate) async fn update(
    connection: &mut PgConnection,
    author: &Author,
    id: i32,
    old: serde_json::Value,
    new: &RuleColumns,
) -> Result<(), RowError> {
    sqlx::query(
        "UPDATE alert_rules SET name = $2, match_string = $3, trap_oid = $4, syslog_severity = $5, \
         match_type = $6, priority = $7, prod_handling = $8, dev_handling = $9, team_assignment = $10, \
         is_active = $11, spec = $12 WHERE id = $1",
    )
    .bind(id)
    .bind(&new.name)
    .bind(&new.match_string)
    .bind(&new.trap_oid)
    .bind(new.syslog_severity)
    .bind(new.match_type.word())
    .bind(new.priority)
    .bind(&new.prod_handling)
    .bind(&new.dev_handling)
    .bind(&new.team_assignment)
    .bind(new.is_active)
    .bind(new.spec_column()?)
    .execute(&mut *connection)
    .await?;
    let new = Some(new.audit_value()?);
    record(connection, author, target(&id.to_string()), Some(old), new).await?;
    Ok(())
}

/// Removes a rule, whatever its row holds; false if it was not there.
pub(crate) async fn delete(connection: &mut PgConnection, author: &Author, id: i32) -> Result<bool, sqlx::Error> {
    let old: Option<serde_json::Value> =
        sqlx::query_scalar("DELETE FROM alert_rules WHERE id = $1 RETURNING to_jsonb(alert_rules)")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
    if old.is_none() {
        return Ok(false);
    }
    record(connection, author, target(&id.to_string()), old, None).await?;
    Ok(true)
}

fn target(record: &str) -> Target<'_> {
    Target { table: TABLE, record }
}
