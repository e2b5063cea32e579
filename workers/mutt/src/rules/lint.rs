//! `mutt rules lint`.

use std::path::PathBuf;

use mutt_rules::LintWarning;
use serde::Serialize;

use super::sources::{Problem, Sources, counted};
use crate::cli::{Output, print};
use crate::worker::Fatal;

#[derive(Serialize)]
struct Report {
    errors: Vec<Problem>,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct Warning {
    rule: String,
    code: &'static str,
    field: String,
    message: String,
}

impl From<LintWarning> for Warning {
    fn from(warning: LintWarning) -> Self {
        Self { rule: warning.rule, code: warning.code.as_str(), field: warning.field, message: warning.message }
    }
}

/// Runs `mutt rules lint`.
pub(super) fn lint(paths: &[PathBuf], strict: bool, output: Output) -> Result<(), Fatal> {
    let sources = Sources::read(paths);
    let warnings = mutt_rules::lint(&sources.rule_set()).into_iter().map(Warning::from).collect();
    let rules = sources.rules.len();
    let report = Report { errors: sources.problems, warnings };
    print(output, &report, |report| text(report, rules))?;
    match (report.errors.len(), report.warnings.len()) {
        (0, 0) => Ok(()),
        (0, _) if !strict => Ok(()),
        (0, warnings) => Err(Fatal::Findings(counted(warnings, "warning"))),
        (errors, _) => Err(Fatal::Findings(counted(errors, "fault"))),
    }
}

fn text(report: &Report, rules: usize) -> String {
    let mut lines: Vec<String> = report.errors.iter().map(|error| format!("error: {error}")).collect();
    lines.extend(report.warnings.iter().map(|warning| {
        format!("warning: {}: {}: {} [{}]", warning.rule, warning.field, warning.message, warning.code)
    }));
    let errors = counted(report.errors.len(), "fault");
    let warnings = counted(report.warnings.len(), "warning");
    lines.push(format!("{}: {errors}, {warnings}", counted(rules, "rule")));
    lines.join("\n")
}
