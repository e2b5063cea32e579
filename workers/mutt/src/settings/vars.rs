//! Raw settings: names and texts with their origin, before any is understood.

use std::{collections::BTreeMap, fmt, path::Path};

use super::{Fault, catalog};

/// Where a value came from; later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// A file given by `--settings`.
    File,
    /// The environment.
    Environment,
    /// A flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "settings file",
            Self::Environment => "environment",
            Self::Flag => "command line",
        })
    }
}

/// Names and texts. Names that MUTT does not know are kept out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vars {
    values: BTreeMap<String, (String, Origin)>,
}

impl Vars {
    /// The known variables of this process' environment.
    pub(crate) fn from_environment() -> Self {
        let mut vars = Self::default();
        for (name, value) in std::env::vars_os() {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string())
                && is_known(&name)
            {
                vars.set(&name, value, Origin::Environment);
            }
        }
        vars
    }

    /// Sets a value unless one of a stronger origin is there.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>, origin: Origin) {
        let weaker = self.values.get(name).is_none_or(|(_, old)| *old <= origin);
        if weaker {
            self.values.insert(name.to_owned(), (value.into(), origin));
        }
    }

    /// Takes a value out, as if it had not been given.
    pub(crate) fn remove(&mut self, name: &str) {
        self.values.remove(name);
    }

    /// The text given for `name`, `None` where it is absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Where the value came from.
    pub(crate) fn origin(&self, name: &str) -> Option<Origin> {
        self.values.get(name).map(|(_, origin)| *origin)
    }

    /// All as plain pairs, for [`mutt_secrets::Secrets`] and for child processes.
    pub(crate) fn to_map(&self) -> BTreeMap<String, String> {
        self.values.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect()
    }

    /// Adds the lines `NAME=value` of a settings file, as systemd's `EnvironmentFile` reads them: `#` and `;` comment,
    /// one pair of quotes round a value is removed. A name that is not a setting is a fault.
    pub(crate) fn add_file(&mut self, path: &Path) -> Result<(), Vec<Fault>> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![Fault::new("--settings", format!("cannot read {}: {error}", path.display()))])?;
        let mut faults = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let place = || format!("{}:{}", path.display(), index + 1);
            match line.split_once('=').map(|(name, value)| (name.trim(), unquote(value.trim()))) {
                None => faults.push(Fault::new(&place(), "expected NAME=value".into())),
                Some((name, _)) if !is_known(name) => {
                    let hint = near(name).map_or(String::new(), |known| format!("; did you mean {known}?"));
                    faults.push(Fault::new(&place(), format!("unknown setting {name}{hint}")));
                }
                Some((name, value)) => self.set(name, value, Origin::File),
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// Whether `name` is a setting or a secret (or the file of one).
fn is_known(name: &str) -> bool {
    let plain = name.strip_suffix("_FILE").unwrap_or(name);
    catalog::find(name).is_some() || catalog::secret_names().any(|secret| secret == name || secret == plain)
}

/// Environment variables that look like a misspelt setting, each with the name that was probably meant.
pub(crate) fn near_misses() -> Vec<(String, &'static str)> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(|name| !is_known(name)).filter_map(|name| near(&name).map(|known| (name, known))).collect()
}

/// The known name within two edits of `name`. Short names have too many neighbours to guess.
fn near(name: &str) -> Option<&'static str> {
    const SHORTEST: usize = 8;
    const MOST_EDITS: usize = 2;
    if name.len() < SHORTEST {
        return None;
    }
    let known = catalog::SETTINGS.iter().map(|setting| setting.name).chain(catalog::secret_names());
    let ranked = known.map(|known| (strsim::damerau_levenshtein(name, known), known));
    ranked.filter(|(edits, _)| *edits <= MOST_EDITS).min().map(|(_, known)| known)
}

fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let mut vars = Vars::default();
        vars.set("REDIS_HOST", "flag", Origin::Flag);
        vars.set("REDIS_HOST", "environment", Origin::Environment);
        vars.set("REDIS_HOST", "file", Origin::File);
        assert_eq!(vars.get("REDIS_HOST"), Some("flag"));
    }

    #[test]
    fn a_settings_file_reports_every_bad_line_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mutt.env");
        std::fs::write(&path, "# comment\nREDIS_HOST=\"redis\"\nREDIS_HOTS=x\nnonsense\nDB_PASS_FILE=/run/pass\n")
            .unwrap();
        let mut vars = Vars::default();
        let faults = vars.add_file(&path).unwrap_err();
        let text: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.len(), 2, "{text:?}");
        assert!(text[0].contains(":3") && text[0].contains("did you mean REDIS_HOST?"), "{text:?}");
        assert!(text[1].contains(":4"), "{text:?}");
        assert_eq!(vars.get("REDIS_HOST"), Some("redis"));
        assert_eq!(vars.get("DB_PASS_FILE"), Some("/run/pass"));
    }

    #[test]
    fn only_close_names_are_near_misses() {
        assert_eq!(near("MOOG_WEBHOOK_ULR"), Some("MOOG_WEBHOOK_URL"));
        assert_eq!(near("HOSTNAME"), None);
        assert_eq!(near("REDIS_PORT_6379_TCP"), None);
    }
}
