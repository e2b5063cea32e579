//! From a JSON value to a typed object, with all faults at once.
//!
//! serde stops at the first fault. So each fault is noted, mended in a copy of the value, and the copy is read again.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::{Path, Segment};

/// More faults of one object are not looked for.
const FAULTS_MAX: usize = 50;

/// Path of a field, and what is wrong with it.
pub(super) type Fault = (String, String);

/// The object, or all its faults.
pub(super) fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, Vec<Fault>> {
    let mut mended = value.clone();
    let mut faults: Vec<Fault> = Vec::new();
    // Where the last fault was mended, and how many ways have been tried there.
    let mut tried: (Vec<Step>, usize) = (Vec::new(), 0);
    for _ in 0..FAULTS_MAX * mendings().len() {
        let error = match serde_path_to_error::deserialize::<_, T>(mended.clone()) {
            Ok(object) if faults.is_empty() => return Ok(object),
            Ok(_) => break,
            Err(error) => error,
        };
        let text = error.inner().to_string();
        let mut steps = steps(error.path());
        let missing = quoted_after(&text, "missing field `");
        if let Some(unknown) = quoted_after(&text, "unknown field `") {
            steps.retain(|step| *step != Step::Unknown);
            if steps.last() != Some(&Step::Key(unknown.to_owned())) {
                steps.push(Step::Key(unknown.to_owned()));
            }
            faults.push((path_text(&steps), explain(&text)));
            remove(&mut mended, &steps);
            continue;
        }
        let container = steps.clone();
        steps.extend(missing.map(|field| Step::Key(field.to_owned())));
        if tried.0 == steps && tried.1 > 0 {
            tried.1 += 1;
        } else {
            faults.push((path_text(if missing.is_some() { &container } else { &steps }), explain(&text)));
            tried = (steps.clone(), 1);
        }
        match mendings().into_iter().nth(tried.1 - 1) {
            Some(mending) => put(&mut mended, &steps, mending),
            None => break,
        }
    }
    Err(faults)
}

/// Values one of which any field accepts.
fn mendings() -> [Value; 8] {
    [json!("x"), json!({}), json!([]), json!(0), json!(true), json!("match"), json!("Active"), json!("Warning")]
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
    Unknown,
}

fn steps(path: &Path) -> Vec<Step> {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => Step::Index(*index),
        Segment::Map { key } | Segment::Enum { variant: key } => Step::Key(key.clone()),
        Segment::Unknown => Step::Unknown,
    };
    path.iter().map(step).collect()
}

/// The path as people write it.
fn path_text(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Index(index) => text.extend(["[", &index.to_string(), "]"]),
            Step::Unknown => {}
        }
    }
    text
}

fn parent<'v>(value: &'v mut Value, steps: &[Step]) -> Option<&'v mut Value> {
    let (_, parents) = steps.split_last()?;
    parents.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
        Step::Unknown => None,
    })
}

fn remove(value: &mut Value, steps: &[Step]) {
    if let (Some(Value::Object(map)), Some(Step::Key(key))) = (parent(value, steps), steps.last()) {
        map.remove(key);
    }
}

fn put(value: &mut Value, steps: &[Step], mending: Value) {
    if steps.is_empty() {
        *value = Value::Object(Map::new());
        return;
    }
    match (parent(value, steps), steps.last()) {
        (Some(Value::Object(map)), Some(Step::Key(key))) => {
            map.insert(key.clone(), mending);
        }
        (Some(Value::Array(items)), Some(Step::Index(index))) => {
            if let Some(item) = items.get_mut(*index) {
                *item = mending;
            }
        }
        _ => {}
    }
}

fn quoted_after<'t>(text: &'t str, mark: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(mark)?;
    rest.split_once('`').map(|(word, _)| word)
}

/// serde's message in the user's terms, with what to do.
fn explain(text: &str) -> String {
    if let Some(field) = quoted_after(text, "missing field `") {
        return format!("field `{field}` is missing; add it");
    }
    if let Some(field) = quoted_after(text, "unknown field `") {
        let known: Vec<&str> = text.split('`').skip(3).step_by(2).collect();
        let near = known.iter().map(|name| (distance(field, name), *name)).min().filter(|(distance, _)| *distance <= 2);
        return match near {
            Some((_, name)) => format!("unknown field `{field}`; did you mean `{name}`?"),
            None => format!("unknown field `{field}`; known here: {}", known.join(", ")),
        };
    }
    let text = match text.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected a mapping of fields"),
        None => text.to_owned(),
    };
    let is_bare = ["integer `", "floating point `", "boolean `"].iter().any(|kind| text.contains(kind));
    if is_bare && text.ends_with("expected a string") { format!("{text}; put it in quotes") } else { text }
}

/// Edits (insert, delete, replace, case ignored) from one word to the other.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
