//! What an error of PostgreSQL means for a batch: one table, by SQLSTATE.

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A row that PostgreSQL will never take: find it, dead-letter it, go on with the others.
    BadRow,
    /// The batch is in `audit_batch` already.
    AlreadyDone,
    /// An outage, a missing right, a missing partition: hold the batch, alarm, try again. Nothing is dead-lettered.
    Hold,
}

/// The table of DESIGN section 3. Anything unknown holds: an outage must never empty the queue into a DLQ.
pub(crate) fn verdict(error: &sqlx::Error) -> Verdict {
    let Some(database) = error.as_database_error() else {
        return Verdict::Hold;
    };
    let code = database.code().unwrap_or_default();
    let table = database.table().unwrap_or_default();
    by_code(&code, table, database.constraint().is_some())
}

fn by_code(code: &str, table: &str, has_constraint: bool) -> Verdict {
    match code {
        "23505" if table.starts_with("audit_batch") => Verdict::AlreadyDone,
        // A check violation without a constraint's name: no partition takes the row.
        "23514" if !has_constraint => Verdict::Hold,
        _ if table.starts_with("audit_batch") => Verdict::Hold,
        _ if code.starts_with("22") || code.starts_with("23") => Verdict::BadRow,
        _ => Verdict::Hold,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        for (code, table, has_constraint, expected) in [
            ("22001", "", false, Verdict::BadRow),
            ("22021", "", false, Verdict::BadRow),
            ("23502", "event_audit_log_2026_11", false, Verdict::BadRow),
            ("23514", "event_audit_log_2026_11", true, Verdict::BadRow),
            ("23514", "event_audit_log", false, Verdict::Hold),
            ("23505", "audit_batch_2026_11_25", true, Verdict::AlreadyDone),
            ("23505", "event_audit_log_2026_11", true, Verdict::BadRow),
            ("08006", "", false, Verdict::Hold),
            ("25006", "", false, Verdict::Hold),
            ("40001", "", false, Verdict::Hold),
            ("53100", "", false, Verdict::Hold),
            ("57P01", "", false, Verdict::Hold),
            ("58030", "", false, Verdict::Hold),
            ("42501", "", false, Verdict::Hold),
            ("55P03", "", false, Verdict::Hold),
            ("XX000", "", false, Verdict::Hold),
        ] {
            assert_eq!(by_code(code, table, has_constraint), expected, "{code} {table}");
        }
    }
}
