//! A YAML document as a JSON value, with the position of each field.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// Line and column, both from 1.
pub(super) type Position = (usize, usize);
/// Position of each field by its path, like `spec.match.hosts[2]`; the document itself is the empty path.
pub(super) type Positions = BTreeMap<String, Position>;

/// Levels of nesting.
const DEPTH_MAX: usize = 24;

/// A document read into plain JSON values: the same types as Kubernetes sees, so that what works here works there.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) value: Value,
    pub(super) positions: Positions,
}

impl Tree {
    /// Reads one document. `first_line` is the line of the file at which `text` begins, from 1.
    pub(super) fn read(text: &str, first_line: usize) -> Result<Self, (Position, String)> {
        let place = |location: serde_saphyr::Location| {
            ((location.line() as usize).max(1) + first_line - 1, (location.column() as usize).max(1))
        };
        let options = serde_saphyr::options! {
            with_snippet: false,
            // A list of 10,000 rules is one document; an object from a cluster is about 12 levels deep, and each takes stack.
            budget: serde_saphyr::budget! {
                max_events: 8_000_000,
                max_nodes: 4_000_000,
                max_depth: DEPTH_MAX,
                flow_nesting_limit: DEPTH_MAX,
            },
        };
        let node: Node = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let position = error.location().map_or((first_line, 1), place);
            (position, message(&error))
        })?;
        let mut positions = Positions::new();
        let root = node.0.referenced;
        let value = node.flatten(&mut String::new(), root, &place, &mut positions);
        Ok(Self { value, positions })
    }
}

/// The parser's message without the position, which is said apart.
fn message(error: &serde_saphyr::Error) -> String {
    let text = match error.without_snippet() {
        serde_saphyr::Error::Message { msg, .. } | serde_saphyr::Error::ExternalMessage { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    let first = text.lines().next().unwrap_or_default();
    let cut = [" at line ", " (line "].iter().filter_map(|mark| first.find(mark)).min().unwrap_or(first.len());
    first[..cut].trim_end().to_owned()
}

struct Node(Spanned<Content>);

enum Content {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(Spanned<String>, Node)>),
}

impl Node {
    fn flatten(
        self,
        path: &mut String,
        at: serde_saphyr::Location,
        place: &impl Fn(serde_saphyr::Location) -> Position,
        positions: &mut Positions,
    ) -> Value {
        positions.insert(path.clone(), place(at));
        let length = path.len();
        match self.0.value {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(value),
            Content::Number(value) => Value::Number(value),
            Content::String(value) => Value::String(value),
            Content::Sequence(items) => {
                let items = items.into_iter().enumerate().map(|(index, item)| {
                    path.extend(["[", &index.to_string(), "]"]);
                    let at = item.0.referenced;
                    let value = item.flatten(path, at, place, positions);
                    path.truncate(length);
                    value
                });
                Value::Array(items.collect())
            }
            Content::Mapping(entries) => {
                let mut map = Map::new();
                for (key, node) in entries {
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(&key.value);
                    let value = node.flatten(path, key.referenced, place, positions);
                    path.truncate(length);
                    map.insert(key.value, value);
                }
                Value::Object(map)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(Self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Number::from_f64(value).map_or(Content::Null, Content::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Content::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = mapping.next_entry()? {
            entries.push(entry);
        }
        Ok(Content::Mapping(entries))
    }
}
