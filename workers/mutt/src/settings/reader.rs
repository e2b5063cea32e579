//! From raw texts to typed values; every fault is collected, none stops the reading.

use std::{fmt, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use super::{Vars, catalog};

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    name: String,
    what: String,
}

impl Fault {
    pub(crate) fn new(name: &str, what: String) -> Self {
        Self { name: name.to_owned(), what }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

/// Everything wrong with the settings, for the person who wrote them.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

/// Reads values by name; asks the catalog for defaults.
pub(crate) struct Reader<'a> {
    vars: &'a Vars,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(vars: &'a Vars) -> Self {
        Self { vars, faults: Vec::new() }
    }

    /// The value if nothing was wrong, else all that was.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Faults> {
        if self.faults.is_empty() { Ok(value) } else { Err(Faults(self.faults)) }
    }

    pub(crate) fn fault(&mut self, name: &str, what: impl Into<String>) {
        self.faults.push(Fault::new(name, what.into()));
    }

    pub(crate) fn vars(&self) -> &'a Vars {
        self.vars
    }

    /// Text as given, or the default.
    pub(crate) fn text(&self, name: &'static str) -> String {
        self.given(name).map_or_else(|| default(name).to_owned(), str::to_owned)
    }

    /// Text as given; defaults do not count.
    pub(crate) fn given(&self, name: &str) -> Option<&'a str> {
        self.vars.get(name)
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.given(name).map(PathBuf::from)
    }

    /// A whole number within `range`.
    pub(crate) fn number<T>(&mut self, name: &'static str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        let text = self.text(name);
        match text.parse::<T>() {
            Ok(value) if range.contains(&value) => value,
            _ => {
                let (low, high) = (*range.start(), *range.end());
                self.fault(name, format!("`{text}` is not a whole number between {low} and {high}"));
                low
            }
        }
    }

    pub(crate) fn port(&mut self, name: &'static str) -> u16 {
        self.number(name, 1..=u16::MAX)
    }

    /// Seconds, fractions allowed, within `range`.
    pub(crate) fn seconds(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Duration {
        let text = self.text(name);
        match text.parse::<f64>() {
            Ok(value) if range.contains(&value) => Duration::from_secs_f64(value),
            _ => {
                let (low, high) = (range.start(), range.end());
                self.fault(name, format!("`{text}` is not a number of seconds between {low} and {high}"));
                Duration::from_secs_f64(*range.start())
            }
        }
    }

    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        let text = self.text(name);
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.fault(name, format!("`{text}` is neither true nor false"));
                false
            }
        }
    }

    /// One of a few words, case ignored.
    pub(crate) fn one_of<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> T {
        let text = self.text(name);
        if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)) {
            return *value;
        }
        let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.fault(name, format!("`{text}` is none of: {known}"));
        words[0].1
    }
}

/// The catalog's default of a setting.
fn default(name: &str) -> &'static str {
    debug_assert!(catalog::find(name).is_some(), "{name} is not in the catalog");
    catalog::find(name).map_or("", |setting| setting.default)
}
