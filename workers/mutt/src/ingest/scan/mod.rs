//! The strict JSON scanner: one non-recursive pass over a sender's object that decides whether it may be queued and where
//! its known fields stand. The text itself is kept; nothing is rebuilt from a tree, so numbers pass through unchanged.
//! Grammar: RFC 8259, narrowed to what PostgreSQL's jsonb stores (no lone surrogates, bounded numbers and nesting).

mod error;
mod fields;
mod lex;
mod skip;
pub(crate) mod timestamp;

pub(crate) use error::{ScanError, ScanErrorKind};
pub(crate) use fields::{Event, HOSTNAME, Known, MESSAGE, SEVERITY, SYSLOG_SEVERITY, Slot, TIMESTAMP, unescape};
pub(crate) use lex::Kind;
pub(crate) use skip::skip_broken;

use fields::Cutter;
use lex::Lexer;

/// Deepest nesting taken; the event's own object is level 1. PostgreSQL and every consumer parse recursively.
pub(crate) const DEPTH_MAX: u32 = 64;

/// Scans any JSON value at `start` and returns the position after it; nothing is recorded.
pub(crate) fn scan_value(text: &[u8], start: usize) -> Result<usize, ScanError> {
    let mut lexer = Lexer::new(text, start);
    lexer.value(0)?;
    Ok(lexer.at)
}

/// Scans the object whose `{` stands at `start`, records its known fields in `event`, and returns the position after it.
/// The caller answers for UTF-8: either the whole text is checked beforehand or the object's bytes afterwards.
pub(crate) fn scan_object(text: &[u8], start: usize, known: &Known, event: &mut Event) -> Result<usize, ScanError> {
    event.reset(start);
    let mut lexer = Lexer::new(text, start + 1);
    let mut cutter = Cutter::new(start + 1);
    lexer.whitespace();
    if lexer.peek() == Some(b'}') {
        event.close(lexer.at, &cutter);
        return Ok(lexer.at + 1);
    }
    loop {
        member(&mut lexer, known, event, &mut cutter)?;
        lexer.whitespace();
        match lexer.next() {
            Some(b',') => lexer.whitespace(),
            Some(b'}') => break,
            _ => return Err(lexer.error_before(ScanErrorKind::ExpectedCommaOrBrace)),
        }
    }
    cutter.finish(lexer.at - 1, event);
    event.close(lexer.at - 1, &cutter);
    event.nul |= lexer.nul;
    Ok(lexer.at)
}

#[inline]
fn member(lexer: &mut Lexer<'_>, known: &Known, event: &mut Event, cutter: &mut Cutter) -> Result<(), ScanError> {
    let key_at = lexer.at;
    if lexer.next() != Some(b'"') {
        return Err(lexer.error_before(ScanErrorKind::ExpectedKey));
    }
    let key_escaped = lexer.string()?;
    let key = lexer.slice(key_at + 1, lexer.at - 1);
    lexer.colon()?;
    let value_at = lexer.at;
    let kind = lexer.value(1)?;
    let value = Slot { start: value_at, end: lexer.at, kind };
    let found = if key_escaped { known.find_escaped(key) } else { known.find(key) };
    match found {
        fields::Key::Own => cutter.cut(key_at, value.end, event),
        fields::Key::Other => cutter.keep(key_at, value.end, event),
        fields::Key::Known(index) => {
            cutter.keep(key_at, value.end, event);
            if !event.set(index, value) {
                return Err(ScanError { kind: ScanErrorKind::DuplicateKey(index as u8), at: key_at });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
