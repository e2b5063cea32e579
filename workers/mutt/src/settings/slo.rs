//! Where the objectives are recorded.

use std::fmt;

use url::Url;

use super::{Origin, Reader};

/// Which Prometheus, and which series of it.
#[derive(Clone)]
pub(crate) struct SloSettings {
    /// `None`: nobody said which.
    pub(crate) prometheus: Option<Url>,
    /// Label matchers beside the name, or nothing.
    pub(crate) selector: String,
}

impl SloSettings {
    /// For a role that always asks: the default counts.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let text = reader.text(PROMETHEUS);
        Self { prometheus: url(reader, &text), selector: selector(reader) }
    }

    /// For a tool, which asks only where it was told to.
    pub(crate) fn read_given(reader: &mut Reader<'_>) -> Self {
        let text = reader.given(PROMETHEUS);
        Self { prometheus: text.and_then(|text| url(reader, text)), selector: selector(reader) }
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for SloSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.prometheus.as_ref().and_then(Url::host_str);
        f.debug_struct("SloSettings").field("host", &host).field("selector", &self.selector).finish_non_exhaustive()
    }
}

const PROMETHEUS: &str = "PROMETHEUS_URL";
const SELECTOR: &str = "SLO_SELECTOR";

fn url(reader: &mut Reader<'_>, text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    if url.is_none() {
        reader.fault(PROMETHEUS, "expected http://… or https://…");
    }
    let has_password = url.as_ref().is_some_and(|url| url.password().is_some());
    if has_password && reader.vars().origin(PROMETHEUS) == Some(Origin::Flag) {
        reader.fault(PROMETHEUS, "holds a password, and flags are seen by everyone; give it by the environment");
    }
    url
}

fn selector(reader: &mut Reader<'_>) -> String {
    let text = reader.text(SELECTOR);
    if !text.is_empty() && !are_matchers(&text) {
        reader.fault(SELECTOR, format!("`{text}` is no list like namespace=\"netops\",pipeline=\"core\""));
    }
    text
}

/// Whether it is `label="value"`, several of them with commas between. Values here need no escapes.
fn are_matchers(text: &str) -> bool {
    let mut rest = text;
    loop {
        let Some((name, behind)) = rest.split_once("=\"") else { return false };
        let name_is_good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let Some((value, behind)) = behind.split_once('"') else { return false };
        if !name_is_good || value.contains('\\') {
            return false;
        }
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None => return behind.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labels_with_plain_values_are_put_into_a_query() {
        for good in [r#"pipeline="core""#, r#"namespace="a,b",pipeline="core""#, r#"_x="""#] {
            assert!(are_matchers(good), "{good}");
        }
        for bad in ["core", r#"pipeline="core"} or up{x="y""#, r#"a="b","#, r#"a="\""#, r#"1a="b""#, r#"="b""#] {
            assert!(!are_matchers(bad), "{bad}");
        }
    }
}
