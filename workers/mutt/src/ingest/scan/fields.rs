//! What the scanner records of an event: where its known fields stand and which parts are not stored.

use std::ops::Range;

use super::lex::Kind;

/// Slots of the keys the pipeline knows; further required keys follow from `FIRST_EXTRA` on.
pub(crate) const HOSTNAME: usize = 0;
pub(crate) const MESSAGE: usize = 1;
pub(crate) const TIMESTAMP: usize = 2;
pub(crate) const SYSLOG_SEVERITY: usize = 3;
pub(crate) const SEVERITY: usize = 4;
const NAMES: [&str; 10] = [
    "hostname",
    "message",
    "timestamp",
    "syslog_severity",
    "severity",
    "facility",
    "trap_oid",
    "source",
    "source_ip",
    "variables",
];
const FIRST_EXTRA: usize = NAMES.len();

/// A value's place in the text; a string's slot includes its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: Kind,
}

/// The keys that are looked for: the contract's, and those of REQUIRED_FIELDS beyond them.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    extra: Vec<String>,
    /// Slots that must be there, in the order of REQUIRED_FIELDS.
    required: Vec<usize>,
}

/// What a key is to the scanner.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Starts with `_`: the pipeline's own, a sender's is dropped.
    Own,
    Known(usize),
    Other,
}

impl Known {
    /// From REQUIRED_FIELDS.
    pub(crate) fn new<'a>(required: impl IntoIterator<Item = &'a str>) -> Self {
        let mut known = Self { extra: Vec::new(), required: Vec::new() };
        for name in required {
            let slot = NAMES.iter().position(|known| *known == name).unwrap_or_else(|| {
                let extra = known.extra.iter().position(|extra| extra == name);
                let extra = extra.unwrap_or_else(|| {
                    known.extra.push(name.to_owned());
                    known.extra.len() - 1
                });
                FIRST_EXTRA + extra
            });
            if !known.required.contains(&slot) {
                known.required.push(slot);
            }
        }
        known
    }

    /// The key's name as the sender writes it.
    pub(crate) fn name(&self, slot: usize) -> &str {
        match NAMES.get(slot) {
            Some(name) => name,
            None => self.extra.get(slot - FIRST_EXTRA).map_or("", String::as_str),
        }
    }

    pub(crate) fn required(&self) -> &[usize] {
        &self.required
    }

    /// An empty record with a slot for each known key.
    pub(crate) fn event(&self) -> Event {
        Event {
            slots: vec![None; FIRST_EXTRA + self.extra.len()],
            open: 0,
            close: 0,
            cuts: Vec::new(),
            empty: true,
            nul: false,
        }
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Key {
        if key.first() == Some(&b'_') {
            return Key::Own;
        }
        let slot = match key {
            b"hostname" => HOSTNAME,
            b"message" => MESSAGE,
            b"timestamp" => TIMESTAMP,
            b"syslog_severity" => SYSLOG_SEVERITY,
            b"severity" => SEVERITY,
            b"facility" => 5,
            b"trap_oid" => 6,
            b"source" => 7,
            b"source_ip" => 8,
            b"variables" => 9,
            _ => return self.find_extra(key),
        };
        Key::Known(slot)
    }

    #[inline]
    fn find_extra(&self, key: &[u8]) -> Key {
        match self.extra.iter().position(|extra| extra.as_bytes() == key) {
            Some(extra) => Key::Known(FIRST_EXTRA + extra),
            None => Key::Other,
        }
    }

    /// The same for a key with escapes: `"host\u006eame"` is `hostname`.
    #[cold]
    pub(super) fn find_escaped(&self, key: &[u8]) -> Key {
        self.find(&unescape(key))
    }
}

/// Decodes the inside of a string the scanner has accepted.
pub(crate) fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted).map_or_else(|_| raw.to_vec(), String::into_bytes)
}

/// One scanned event; reused from event to event so that scanning allocates nothing.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    slots: Vec<Option<Slot>>,
    open: usize,
    close: usize,
    cuts: Vec<Range<usize>>,
    empty: bool,
    pub(super) nul: bool,
}

impl Event {
    #[inline]
    pub(super) fn reset(&mut self, open: usize) {
        self.slots.fill(None);
        self.open = open;
        self.cuts.clear();
        self.empty = true;
        self.nul = false;
    }

    /// False if the key was there before.
    #[inline]
    pub(super) fn set(&mut self, slot: usize, value: Slot) -> bool {
        match self.slots.get_mut(slot) {
            Some(place @ None) => {
                *place = Some(value);
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn close(&mut self, close: usize, cutter: &Cutter) {
        self.close = close;
        self.empty = cutter.kept == 0;
    }

    pub(crate) fn slot(&self, slot: usize) -> Option<Slot> {
        self.slots.get(slot).copied().flatten()
    }

    /// Appends the object without its closing brace and without the sender's `_` keys to `out`; NUL escapes become
    /// `\ufffd`. True if at least one member is left, so that what follows needs a comma.
    pub(crate) fn write_open(&self, text: &[u8], out: &mut Vec<u8>) -> bool {
        let from = out.len();
        let mut at = self.open;
        for cut in &self.cuts {
            out.extend_from_slice(text.get(at..cut.start).unwrap_or_default());
            at = cut.end;
        }
        out.extend_from_slice(text.get(at..self.close).unwrap_or_default());
        if self.nul {
            replace_nul(out.get_mut(from..).unwrap_or_default());
        }
        !self.empty
    }
}

/// `\u0000` → `\ufffd`; both are six bytes. Backslashes stand only in strings and are skipped in pairs.
#[cold]
fn replace_nul(text: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        if let Some(escape) = text.get_mut(at..at + 6)
            && escape == b"\\u0000"
        {
            escape.copy_from_slice(b"\\ufffd");
        }
        at += 2;
    }
}

/// Follows the members of an object and turns dropped ones into cuts that keep the commas right: a dropped member takes
/// the comma before it along, and dropped members before the first kept one take the comma after them.
pub(super) struct Cutter {
    /// After the opening brace.
    body: usize,
    /// End of the last member.
    last: usize,
    kept: usize,
    leading: bool,
}

impl Cutter {
    pub(super) fn new(body: usize) -> Self {
        Self { body, last: body, kept: 0, leading: false }
    }

    #[inline]
    pub(super) fn keep(&mut self, key_at: usize, end: usize, event: &mut Event) {
        if self.leading && self.kept == 0 {
            event.cuts.push(self.body..key_at);
        }
        self.kept += 1;
        self.last = end;
    }

    #[cold]
    pub(super) fn cut(&mut self, _key_at: usize, end: usize, event: &mut Event) {
        if self.kept == 0 {
            self.leading = true;
        } else {
            event.cuts.push(self.last..end);
        }
        self.last = end;
    }

    #[inline]
    pub(super) fn finish(&mut self, close: usize, event: &mut Event) {
        if self.leading && self.kept == 0 {
            event.cuts.push(self.body..close);
        }
    }
}
