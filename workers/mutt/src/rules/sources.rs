//! AlertRule files as they are given to `mutt rules`: read and checked completely, all faults at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use mutt_rules::{
    AlertRule, Document, MuttPipelineView, Object, ParseError, Rule, RuleSet, parse_documents, run_tests,
};
use serde::Serialize;

use super::row::column_name;
use crate::cli::{Output, print};
use crate::worker::Fatal;

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The rules, in the order of the files.
    pub(super) rules: Vec<AlertRule>,
    /// Development hosts and teams; none if no file holds a MuttPipeline.
    pub(super) pipeline: Option<Pipeline>,
    /// Everything that is wrong.
    pub(super) problems: Vec<Problem>,
}

/// Development hosts and teams of all MuttPipelines of the files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pipeline {
    /// Hosts with the development handling.
    pub(super) hosts: BTreeSet<String>,
    /// Host → team.
    pub(super) teams: BTreeMap<String, String>,
}

/// One fault and its place.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub(super) struct Problem {
    /// File, or `-`.
    pub(super) origin: String,
    /// Number of the document in the file, from 1; 0 = the file as a whole.
    pub(super) document: usize,
    /// Line, from 1.
    pub(super) line: usize,
    /// Column, from 1.
    pub(super) column: usize,
    /// Path of the field; empty for the whole document.
    pub(super) field: String,
    /// What is wrong.
    pub(super) message: String,
    /// Whether it is a rule's own test that does not come out as expected.
    #[serde(skip)]
    pub(super) is_failed_test: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.document == 0 {
            return write!(f, "{}: {}", self.origin, self.message);
        }
        write!(f, "{}:{}:{}: ", self.origin, self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        Self {
            origin: error.origin,
            document: error.document,
            line: error.line,
            column: error.column,
            field: error.field,
            message: error.message,
            is_failed_test: false,
        }
    }
}

impl Problem {
    fn of_file(origin: &str, message: impl Into<String>) -> Self {
        Self {
            origin: origin.to_owned(),
            document: 0,
            line: 1,
            column: 1,
            field: String::new(),
            message: message.into(),
            is_failed_test: false,
        }
    }

    fn at(document: &Document, field: String, message: String) -> Self {
        let (line, column) = document.position(&field);
        let (origin, document) = (document.origin.clone(), document.number);
        Self { origin, document, line, column, field, message, is_failed_test: false }
    }
}

impl Sources {
    /// Reads files and directories; `-` is standard input.
    pub(super) fn read(paths: &[PathBuf]) -> Self {
        let mut sources = Self::default();
        let mut documents = Vec::new();
        for path in paths {
            for (origin, text) in texts(path) {
                match text {
                    Ok(text) => documents.extend(sources.parse(&text, &origin)),
                    Err(error) => sources.problems.push(Problem::of_file(&origin, error)),
                }
            }
        }
        sources.check(documents);
        sources
    }

    /// As [`Sources::read`], from a text.
    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Self {
        let mut sources = Self::default();
        let documents = sources.parse(text, "test.yaml");
        sources.check(documents);
        sources
    }

    fn parse(&mut self, text: &str, origin: &str) -> Vec<Document> {
        match parse_documents(text, origin) {
            Ok(documents) => documents,
            Err(faults) => {
                self.problems.extend(faults.errors.into_iter().map(Problem::from));
                faults.good
            }
        }
    }

    fn check(&mut self, documents: Vec<Document>) {
        let mut seen: HashMap<String, String> = HashMap::new();
        for document in documents {
            let faults = document.validate();
            let sound = faults.is_empty();
            self.problems.extend(faults.into_iter().map(Problem::from));
            match &document.object {
                Object::AlertRule(rule) => {
                    if sound {
                        self.problems.extend(failed_tests(&document, rule));
                    }
                    if serde_json::to_string(rule).is_ok_and(|text| text.contains("\\u0000")) {
                        let message = "a text holds a NUL byte, which PostgreSQL cannot store".to_owned();
                        self.problems.push(Problem::at(&document, "spec".into(), message));
                    }
                    let place = format!("{}:{}", document.origin, document.line);
                    if let Some(first) = seen.insert(column_name(rule), place) {
                        let message = format!("a rule '{}' stands at {first} already", column_name(rule));
                        self.problems.push(Problem::at(&document, "metadata.name".into(), message));
                    }
                    self.rules.push((**rule).clone());
                }
                Object::MuttPipeline(view) => self.add_pipeline(&document, view),
            }
        }
        if self.rules.is_empty() && self.pipeline.is_none() && self.problems.is_empty() {
            self.problems.push(Problem::of_file("-f", "no AlertRule and no MuttPipeline in what was given"));
        }
    }

    fn add_pipeline(&mut self, document: &Document, view: &MuttPipelineView) {
        let pipeline = self.pipeline.get_or_insert_default();
        let bad = |name: &str, bytes_max: usize| {
            name.trim().is_empty() || name.len() > bytes_max || name.chars().any(char::is_control)
        };
        for host in &view.spec.development_hosts {
            if bad(host, 255) {
                let message = format!("'{host}' is no host name: 1 to 255 bytes without control characters");
                self.problems.push(Problem::at(document, "spec.developmentHosts".into(), message));
            }
            pipeline.hosts.insert(host.clone());
        }
        for (host, team) in view.spec.device_teams() {
            if bad(&host, 255) || bad(&team, 100) {
                let message = format!("'{host}' of team '{team}': a host has 1 to 255 bytes and a team 1 to 100");
                self.problems.push(Problem::at(document, "spec.teams".into(), message));
            }
            match pipeline.teams.insert(host.clone(), team.clone()) {
                Some(other) if other != team => {
                    let message = format!("host '{host}' belongs to team '{other}' and to team '{team}'");
                    self.problems.push(Problem::at(document, "spec.teams".into(), message));
                }
                _ => {}
            }
        }
    }

    /// The rules as one set, as an alerter would have it.
    pub(super) fn rule_set(&self) -> RuleSet {
        let rules = self.rules.iter().cloned().map(Rule::from).collect();
        let none = Pipeline::default();
        let pipeline = self.pipeline.as_ref().unwrap_or(&none);
        RuleSet::new(rules, pipeline.hosts.iter().cloned(), pipeline.teams.clone())
    }

    /// Ends with all faults, if there are any.
    pub(super) fn without_problems(self, output: Output, consequence: &str) -> Result<Self, Fatal> {
        if self.problems.is_empty() {
            return Ok(self);
        }
        report(&self.problems, output)?;
        Err(Fatal::Findings(format!("{}{consequence}", counted(self.problems.len(), "fault"))))
    }
}

/// `3 faults`, `1 fault`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Faults go to standard error for people, to standard output for programs.
fn report(problems: &[Problem], output: Output) -> Result<(), Fatal> {
    match output {
        Output::Text => {
            for problem in problems {
                eprintln!("{problem}");
            }
            Ok(())
        }
        Output::Json => print(output, &serde_json::json!({ "errors": problems }), |_| String::new()),
    }
}

fn failed_tests(document: &Document, rule: &AlertRule) -> Vec<Problem> {
    let failures = run_tests(&rule.spec);
    let problem = |failure: &mutt_rules::TestFailure| {
        let field = format!("spec.tests[{}]", failure.index);
        Problem { is_failed_test: true, ..Problem::at(document, field, failure.message.clone()) }
    };
    failures.iter().map(problem).collect()
}

/// The texts at a path with their origins.
fn texts(path: &Path) -> Vec<(String, Result<String, String>)> {
    let origin = path.display().to_string();
    if origin == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text).map_err(|error| format!("cannot read: {error}"));
        return vec![(origin, read.map(|_| text))];
    }
    let files = if path.is_dir() { files_of(path) } else { Ok(vec![path.to_owned()]) };
    match files {
        Err(error) => vec![(origin, Err(error))],
        Ok(files) if files.is_empty() => vec![(origin, Err("holds no *.yaml, *.yml or *.json file".into()))],
        Ok(files) => files
            .iter()
            .map(|file| {
                let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read: {error}"));
                (file.display().to_string(), text)
            })
            .collect(),
    }
}

/// The AlertRule files of a directory by name, as RULES_SOURCE=dir reads them: not the hidden ones.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("cannot read: {error}");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned());
        let wanted = extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension.as_str()));
        if wanted && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
