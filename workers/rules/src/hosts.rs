//! The host criterion: names, globs and networks.

use std::net::IpAddr;

use globset::{GlobBuilder, GlobMatcher};
use ipnet::IpNet;

use crate::event::Event;

/// A compiled host criterion: any of its entries suffices.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    names: Vec<String>,
    globs: Vec<GlobMatcher>,
    networks: Vec<IpNet>,
}

/// One entry of `match.hosts`.
enum Entry {
    Name(String),
    Glob(GlobMatcher),
    Network(IpNet),
}

impl Hosts {
    /// Compiles the entries; the error names the first bad one.
    pub(crate) fn new(entries: &[String]) -> Result<Self, String> {
        let mut hosts = Self::default();
        for text in entries {
            match entry(text)? {
                Entry::Name(name) => hosts.names.push(name),
                Entry::Glob(glob) => hosts.globs.push(glob),
                Entry::Network(network) => hosts.networks.push(network),
            }
        }
        Ok(hosts)
    }

    /// Whether there is no criterion.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.globs.is_empty() && self.networks.is_empty()
    }

    /// Whether the event's host is among the entries.
    pub(crate) fn take(&self, event: &Event<'_>) -> bool {
        self.is_empty()
            || self.names.iter().any(|name| name.eq_ignore_ascii_case(event.hostname))
            || self.globs.iter().any(|glob| glob.is_match(event.hostname))
            || self
                .networks
                .iter()
                .any(|network| sender_address(event).is_some_and(|address| network.contains(&address)))
    }
}

impl Hosts {
    /// Whether an entry of another criterion is a plain name that this one takes.
    pub(crate) fn take_plain_name(&self, text: &str) -> bool {
        let event = Event { hostname: text, ..Event::default() };
        matches!(entry(text), Ok(Entry::Name(_))) && !self.is_empty() && self.take(&event)
    }
}

fn sender_address(event: &Event<'_>) -> Option<IpAddr> {
    let text = event.source_ip.filter(|text| !text.is_empty()).unwrap_or(event.hostname);
    text.trim().parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Why an entry is none, if it is none.
pub(crate) fn problem(text: &str) -> Option<String> {
    entry(text).err()
}

fn entry(text: &str) -> Result<Entry, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Entry::Network(IpNet::from(address)));
    }
    if text.contains('/') {
        return text
            .parse::<IpNet>()
            .map(|network| Entry::Network(network.trunc()))
            .map_err(|_| format!("`{text}` is no network; write address/length, like 10.1.0.0/16"));
    }
    if text.contains(['*', '?', '[', ']', '{', '}']) {
        return GlobBuilder::new(text)
            .case_insensitive(true)
            .build()
            .map(|glob| Entry::Glob(glob.compile_matcher()))
            .map_err(|error| format!("`{text}` is no glob: {}", error.kind()));
    }
    if text.contains(char::is_whitespace) {
        return Err(format!("`{text}` holds a space; write one host per entry"));
    }
    Ok(Entry::Name(text.to_owned()))
}
