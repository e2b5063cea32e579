//! The configuration audit: each change of rules, development hosts, teams and settings is a row of
//! `config_audit_log`, written in the transaction of the change itself.

use serde_json::Value;
use sqlx::PgConnection;

/// Who changes something, and why.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    /// A person's name if the client gave one, else the name of the key or tool.
    pub(crate) changed_by: String,
    /// Given by the client.
    pub(crate) reason: Option<String>,
    /// Correlation id of the request.
    pub(crate) correlation_id: Option<String>,
}

/// What was changed: the table and the row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// Name of the table; `settings` for the settings kept in Redis.
    pub(crate) table: &'static str,
    /// Key of the row.
    pub(crate) record: &'a str,
}

/// Writes one row of the configuration audit. Without old values it is a CREATE, without new ones a DELETE.
pub(crate) async fn record(
    connection: &mut PgConnection,
    author: &Author,
    target: Target<'_>,
    old: Option<Value>,
    new: Option<Value>,
) -> Result<(), sqlx::Error> {
    let operation = match (&old, &new) {
        (None, _) => "CREATE",
        (Some(_), Some(_)) => "UPDATE",
        (Some(_), None) => "DELETE",
    };
    sqlx::query(
        "INSERT INTO config_audit_log \
         (changed_by, operation, table_name, record_id, old_values, new_values, reason, correlation_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&author.changed_by)
    .bind(operation)
    .bind(target.table)
    .bind(target.record)
    .bind(old)
    .bind(new)
    .bind(&author.reason)
    .bind(&author.correlation_id)
    .execute(connection)
    .await?;
    Ok(())
}
