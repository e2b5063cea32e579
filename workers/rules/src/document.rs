//! Multi-document YAML (and JSON) files of AlertRules and MuttPipelines.

use std::fmt;

use crate::pipeline::MuttPipelineView;
use crate::spec::AlertRule;

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

/// Reads all documents of a text. Only the form is checked here; what a rule says is checked by [`crate::validate`] and when it is
/// compiled, so that one bad rule of a file does not take out the others.
///
/// # Errors
/// All faults at once, each with document, line, column and field.
pub fn parse_documents(text: &str, origin: &str) -> Result<Vec<Document>, ParseErrors> {
    let mut documents = Vec::new();
    let parsed: Result<Vec<AlertRule>, _> = serde_saphyr::from_multiple(text);
    match parsed {
        Ok(rules) => {
            for (index, rule) in rules.into_iter().enumerate() {
                let object = Object::AlertRule(Box::new(rule));
                documents.push(Document { origin: origin.to_owned(), number: index + 1, line: 1, object });
            }
            Ok(documents)
        }
        Err(error) => Err(ParseErrors {
            errors: vec![ParseError {
                origin: origin.to_owned(),
                document: 1,
                line: error.location().map_or(1, |location| location.line() as usize),
                column: error.location().map_or(1, |location| location.column() as usize),
                field: String::new(),
                message: error.to_string(),
            }],
            good: documents,
        }),
    }
}
