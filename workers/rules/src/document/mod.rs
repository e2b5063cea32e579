//! Multi-document YAML (and JSON) files of AlertRules and MuttPipelines.

mod decode;
mod tree;

use std::fmt;

use serde_json::Value;

use self::decode::decode;
pub(crate) use self::decode::distance;
use self::tree::{Position, Positions, Tree};
use crate::API_VERSION;
use crate::pipeline::MuttPipelineView;
use crate::spec::AlertRule;
use crate::validate::validate;

/// One object of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// File name or other origin, as given to [`parse_documents`].
    pub origin: String,
    /// Number of the document in its file, from 1.
    pub number: usize,
    /// Line at which the object begins, from 1.
    pub line: usize,
    /// What it is.
    pub object: Object,
    positions: Positions,
}

impl Document {
    /// Line and column (from 1) of a field by its path, like `spec.match.hosts[2]`; of the nearest field around it that is there.
    pub fn position(&self, field: &str) -> (usize, usize) {
        nearest(&self.positions, field)
    }

    /// All that [`validate`] finds, at its place in the file. A pipeline has nothing to be validated.
    pub fn validate(&self) -> Vec<ParseError> {
        let Object::AlertRule(rule) = &self.object else { return Vec::new() };
        let place = |issue: crate::RuleIssue| {
            let field = format!("spec.{}", issue.field);
            let (line, column) = self.position(&field);
            ParseError {
                origin: self.origin.clone(),
                document: self.number,
                line,
                column,
                field,
                message: issue.message,
            }
        };
        validate(&rule.spec).into_iter().map(place).collect()
    }
}

/// What a document holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// An alert rule.
    AlertRule(Box<AlertRule>),
    /// A pipeline, of which development hosts and teams count.
    MuttPipeline(MuttPipelineView),
}

/// One fault in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// File name or other origin.
    pub origin: String,
    /// Number of the document in its file, from 1.
    pub document: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Path of the field, like `spec.match.message`; empty for the whole document.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: document {}", self.origin, self.line, self.column, self.document)?;
        if !self.field.is_empty() {
            write!(f, ", field {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All faults of a file, with the documents that are good nevertheless.
#[derive(Debug, Clone, PartialEq)]
pub struct ParseErrors {
    /// The faults, in the order of the file; never empty.
    pub errors: Vec<ParseError>,
    /// Documents without a fault.
    pub good: Vec<Document>,
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ParseErrors {}

/// Reads all documents of a text: AlertRules and MuttPipelines, one by one, in a list (`kind: List`, as `kubectl get -o yaml` writes
/// it) or in a JSON array. Only the form is checked here; what a rule says is checked by [`validate`] and when it is compiled, so that
/// one bad rule of a file does not take out the others.
///
/// # Errors
/// All faults at once, each with document, line, column and field, and with the documents that are good nevertheless.
pub fn parse_documents(text: &str, origin: &str) -> Result<Vec<Document>, ParseErrors> {
    let mut reader = Reader { origin, number: 0, good: Vec::new(), errors: Vec::new() };
    for (first_line, chunk) in split(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        reader.number += 1;
        match Tree::read(&chunk, first_line) {
            Ok(tree) => reader.object(tree.value, tree.positions),
            Err((position, message)) => reader.error(position, String::new(), format!("is no YAML: {message}")),
        }
    }
    if reader.errors.is_empty() {
        Ok(reader.good)
    } else {
        Err(ParseErrors { errors: reader.errors, good: reader.good })
    }
}

/// Cuts a file at its document markers (`---` at the beginning of a line is nothing else in YAML), so that a fault in one document
/// hides none in the next. Returns the line at which each begins, and leaves out those without content.
fn split(text: &str) -> Vec<(usize, String)> {
    let is_marker = |line: &str| {
        ["---", "..."]
            .iter()
            .any(|mark| line.strip_prefix(mark).is_some_and(|rest| rest.trim_start() != rest || rest.is_empty()))
    };
    let mut chunks: Vec<(usize, String)> = vec![(1, String::new())];
    for (index, line) in text.lines().enumerate() {
        if is_marker(line) {
            chunks.push((index + 1, String::new()));
        }
        if let Some((_, chunk)) = chunks.last_mut() {
            // The marker itself is blanked, what follows it on its line stays where it is.
            if is_marker(line) {
                chunk.extend(["   ", &line[3..]]);
            } else {
                chunk.push_str(line);
            }
            chunk.push('\n');
        }
    }
    let is_content =
        |line: &str| !(line.trim().is_empty() || line.trim_start().starts_with('#') || line.starts_with('%'));
    chunks.retain(|(_, chunk)| chunk.lines().any(is_content));
    chunks
}

fn nearest(positions: &Positions, field: &str) -> Position {
    let mut path = field;
    loop {
        if let Some(position) = positions.get(path) {
            return *position;
        }
        let Some(end) = path.rfind(['.', '[']) else { break };
        path = &path[..end];
    }
    positions.get("").copied().unwrap_or((1, 1))
}

/// What a file has given so far.
struct Reader<'o> {
    origin: &'o str,
    number: usize,
    good: Vec<Document>,
    errors: Vec<ParseError>,
}

impl Reader<'_> {
    fn error(&mut self, (line, column): Position, field: String, message: String) {
        self.errors.push(ParseError {
            origin: self.origin.to_owned(),
            document: self.number,
            line,
            column,
            field,
            message,
        });
    }

    /// Takes in one object, or each of a list.
    fn object(&mut self, value: Value, positions: Positions) {
        let is_list =
            |value: &Value| value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        let (items, prefix) = match value {
            Value::Array(items) => (items, "["),
            mut value if is_list(&value) => match value.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => (items, "items["),
                _ => {
                    return self.error(
                        nearest(&positions, "items"),
                        "items".to_owned(),
                        "a list needs items: [...]".to_owned(),
                    );
                }
            },
            value => return self.single(value, positions),
        };
        for (index, item) in items.into_iter().enumerate() {
            let prefix = format!("{prefix}{index}]");
            let part = positions.range(prefix.clone()..).map_while(|(path, position)| {
                let rest = path.strip_prefix(&prefix)?;
                Some((rest.strip_prefix('.').unwrap_or(rest).to_owned(), *position))
            });
            self.single(item, part.collect());
        }
    }

    fn single(&mut self, mut value: Value, positions: Positions) {
        let faults = match envelope(&value) {
            Ok("AlertRule") => {
                // What Kubernetes adds to an object that it gives out.
                if let Value::Object(map) = &mut value {
                    map.remove("status");
                }
                decode::<AlertRule>(&value).and_then(|rule| {
                    let faults = name_faults(&rule);
                    if faults.is_empty() { Ok(Object::AlertRule(Box::new(rule))) } else { Err(faults) }
                })
            }
            Ok(_) => decode::<MuttPipelineView>(&value).map(Object::MuttPipeline),
            Err(faults) => Err(faults),
        };
        match faults {
            Ok(object) => {
                let (line, _) = nearest(&positions, "");
                self.good.push(Document {
                    origin: self.origin.to_owned(),
                    number: self.number,
                    line,
                    object,
                    positions,
                });
            }
            Err(faults) => {
                for (field, message) in faults {
                    self.error(nearest(&positions, &field), field, message);
                }
            }
        }
    }
}

/// The kind of an object whose envelope is right.
fn envelope(value: &Value) -> Result<&str, Vec<(String, String)>> {
    if !value.is_object() {
        return Err(vec![(String::new(), "expected an object with apiVersion, kind, metadata and spec".to_owned())]);
    }
    let mut faults = Vec::new();
    let mut check = |field: &str, known: &[&str]| {
        let fault = match value.get(field).map(|found| found.as_str().ok_or(found)) {
            Some(Ok(found)) if known.contains(&found) => return,
            Some(Ok(found)) => format!("is `{found}`; known: {}", known.join(", ")),
            Some(Err(found)) => format!("is {found}; known: {}", known.join(", ")),
            None => format!("is missing; known: {}", known.join(", ")),
        };
        faults.push((field.to_owned(), fault));
    };
    check("apiVersion", &[API_VERSION]);
    check("kind", &["AlertRule", "MuttPipeline"]);
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if faults.is_empty() { Ok(kind) } else { Err(faults) }
}

/// Names must be such that Kubernetes takes them, so that the same file works there (RFC 1123 subdomain and label).
fn name_faults(rule: &AlertRule) -> Vec<(String, String)> {
    let is_label = |text: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        text.bytes().all(|byte| inner(byte) || byte == b'-')
            && text.bytes().next().is_some_and(inner)
            && text.bytes().last().is_some_and(inner)
    };
    let mut faults = Vec::new();
    let name = &rule.metadata.name;
    if name.len() > 253 || !name.split('.').all(is_label) {
        faults.push((
            "metadata.name".to_owned(),
            format!("`{name}` is no name; use small letters, digits, - and ., at most 253"),
        ));
    }
    if let Some(namespace) = rule.metadata.namespace.as_deref().filter(|text| text.len() > 63 || !is_label(text)) {
        faults.push((
            "metadata.namespace".to_owned(),
            format!("`{namespace}` is no namespace; use small letters, digits and -, at most 63"),
        ));
    }
    faults
}
