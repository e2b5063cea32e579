//! Settings of `mutt relay`.

use std::path::PathBuf;
use std::time::Duration;

use crate::settings::{CommonSettings, Faults, Reader, Vars};

/// Validated settings of the relay.
#[derive(Clone, Debug)]
pub(crate) struct RelaySettings {
    pub(crate) common: CommonSettings,
    /// The ingest resource.
    pub(crate) url: url::Url,
    /// PEM file; `None` = the system's roots.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) spool_directory: PathBuf,
    /// Bytes that may wait in the spool.
    pub(crate) spool_bytes_max: u64,
    pub(crate) batch_lines: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) gzip: bool,
    /// Until a request without an answer is sent again.
    pub(crate) timeout: Duration,
}

impl RelaySettings {
    /// Reads and validates; all faults at once.
    pub(crate) fn from_vars(vars: &Vars) -> Result<Self, Faults> {
        let mut reader = Reader::new(vars);
        let r = &mut reader;
        let settings = Self {
            common: CommonSettings::read(r),
            url: ingest_url(r),
            ca: r.path("INGEST_CA_CERT_PATH"),
            spool_directory: PathBuf::from(r.text("RELAY_SPOOL_DIR")),
            spool_bytes_max: r.number("RELAY_SPOOL_MAX_BYTES", 1 << 20..=u64::MAX),
            batch_lines: r.number("RELAY_BATCH_LINES", 1..=100_000),
            batch_bytes: r.number("RELAY_BATCH_BYTES", 1_024..=64 << 20),
            gzip: r.flag("RELAY_GZIP"),
            timeout: r.seconds("RELAY_TIMEOUT", 0.1..=600.0),
        };
        reader.finish(settings)
    }
}

/// INGEST_URL; the ingest path is added to a URL without one.
fn ingest_url(reader: &mut Reader<'_>) -> url::Url {
    const NAME: &str = "INGEST_URL";
    ingest_resource(&reader.text(NAME)).unwrap_or_else(|fault| {
        reader.fault(NAME, fault);
        url::Url::parse("http://invalid.invalid/").unwrap_or_else(|_| unreachable!("a constant URL"))
    })
}

/// The ingest resource of a URL of the ingestor, or what is wrong with it.
pub(crate) fn ingest_resource(text: &str) -> Result<url::Url, &'static str> {
    match url::Url::parse(text) {
        Ok(url) if !["http", "https"].contains(&url.scheme()) || !url.has_host() => {
            Err("expected http://… or https://…")
        }
        Ok(url) if url.password().is_some() => Err("holds a password; the key is given by INGEST_API_KEY"),
        Ok(mut url) => {
            if url.path() == "/" {
                url.set_path("/api/v2/ingest");
            }
            Ok(url)
        }
        Err(_) => Err("is not a URL"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use crate::settings::Origin;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<RelaySettings, Faults> {
        let mut vars = Vars::default();
        for (name, value) in pairs {
            vars.set(name, *value, Origin::Environment);
        }
        RelaySettings::from_vars(&vars)
    }

    #[test]
    fn the_ingest_path_is_added_where_none_is_given() {
        for (url, want) in [
            ("http://h:8080", "http://h:8080/api/v2/ingest"),
            ("https://h/", "https://h/api/v2/ingest"),
            ("http://h/ingest", "http://h/ingest"),
        ] {
            assert_eq!(read(&[("INGEST_URL", url)]).unwrap().url.as_str(), want);
        }
    }

    #[test]
    fn faults_are_reported_together() {
        let pairs = [("INGEST_URL", "ftp://h"), ("RELAY_BATCH_LINES", "0"), ("RELAY_GZIP", "perhaps")];
        let text = read(&pairs).unwrap_err().to_string();
        for (name, _) in pairs {
            assert!(text.contains(name), "{name} missing in {text}");
        }
    }
}
