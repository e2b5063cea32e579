//! Takes a body apart: one event, an array of events, or events joined by newlines (CONTRACT section 1).

use std::ops::Range;

use super::scan::{self, Event, Known, ScanError, ScanErrorKind};

/// Whether the body is one event or a batch; an array of one is a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Single,
    Batch,
}

/// Why an item cannot be an event, before its fields are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemError {
    /// Nothing, or null.
    Empty,
    /// JSON, but no object.
    NotAnObject,
    Json(ScanError),
}

/// One item as it comes out of the body.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) index: usize,
    pub(crate) shape: Shape,
    /// Where it stands in the body.
    pub(crate) range: Range<usize>,
    pub(crate) event: Result<&'a Event, ItemError>,
}

/// Walks over the items of `body` and hands each to `take`, in order. Returns the shape and the number of items; an
/// error means that the body as a whole is neither JSON nor lines of it, and that what `take` got does not count.
pub(crate) fn split(
    body: &[u8],
    known: &Known,
    newline_type: bool,
    take: &mut dyn FnMut(Item<'_>),
) -> Result<(Shape, usize), ItemError> {
    let mut splitter =
        Splitter { body, known, event: known.event(), utf8: std::str::from_utf8(body).is_ok(), index: 0, take };
    let start = skip_whitespace(body, 0);
    match body.get(start) {
        None => Err(ItemError::Empty),
        Some(b'[') => splitter.array(start + 1).map(|()| (Shape::Batch, splitter.index)),
        Some(_) => splitter.values(start, newline_type),
    }
}

struct Splitter<'a, 'b> {
    body: &'a [u8],
    known: &'a Known,
    event: Event,
    utf8: bool,
    index: usize,
    take: &'b mut dyn FnMut(Item<'_>),
}

/// What stands at a position: an event (recorded in the splitter), or another value.
enum Found {
    Event,
    Null,
    Other,
}

impl Splitter<'_, '_> {
    /// Scans one value.
    #[inline]
    fn scan(&mut self, start: usize) -> Result<(Found, usize), ScanError> {
        let (found, end) = if self.body.get(start) == Some(&b'{') {
            (Found::Event, scan::scan_object(self.body, start, self.known, &mut self.event)?)
        } else {
            let end = scan::scan_value(self.body, start)?;
            let null = self.body.get(start..end) == Some(b"null");
            (if null { Found::Null } else { Found::Other }, end)
        };
        if !self.utf8 {
            check_utf8(self.body, start..end)?;
        }
        Ok((found, end))
    }

    fn hand_out(&mut self, shape: Shape, range: Range<usize>, found: &Result<Found, ScanError>) {
        let event = match *found {
            Ok(Found::Event) => Ok(&self.event),
            Ok(Found::Null) if shape == Shape::Single => Err(ItemError::Empty),
            Ok(Found::Null | Found::Other) => Err(ItemError::NotAnObject),
            Err(error) => Err(ItemError::Json(error)),
        };
        (self.take)(Item { index: self.index, shape, range, event });
        self.index += 1;
    }

    /// The items of an array whose bracket is consumed. A broken item ends where its brackets say; if it never ends, the
    /// whole body is refused.
    fn array(&mut self, start: usize) -> Result<(), ItemError> {
        let mut at = skip_whitespace(self.body, start);
        if self.body.get(at) == Some(&b']') {
            at += 1;
        } else {
            loop {
                let (end, found) = match self.scan(at) {
                    Ok((found, end)) => (end, Ok(found)),
                    Err(error) => {
                        let end = scan::skip_broken(self.body, at).ok_or(ItemError::Json(error))?;
                        (end, Err(error))
                    }
                };
                self.hand_out(Shape::Batch, at..end, &found);
                at = skip_whitespace(self.body, end);
                match self.body.get(at) {
                    Some(b',') => at = skip_whitespace(self.body, at + 1),
                    Some(b']') => break,
                    _ => return Err(json_error(ScanErrorKind::ExpectedCommaOrBracket, at)),
                }
            }
            at += 1;
        }
        let rest = skip_whitespace(self.body, at);
        if rest < self.body.len() {
            return Err(json_error(ScanErrorKind::Trailing, rest));
        }
        Ok(())
    }

    /// One value, or values with newlines between them.
    fn values(&mut self, start: usize, newline_type: bool) -> Result<(Shape, usize), ItemError> {
        match self.scan(start) {
            Ok((found, end)) => {
                let rest = skip_whitespace(self.body, end);
                if rest == self.body.len() {
                    self.hand_out(Shape::Single, start..end, &Ok(found));
                    return Ok((Shape::Single, 1));
                }
                if memchr::memchr(b'\n', self.body.get(end..).unwrap_or_default()).is_none() {
                    return Err(json_error(ScanErrorKind::Trailing, rest));
                }
            }
            Err(error) => {
                if !newline_type && !self.has_event_lines() {
                    return Err(ItemError::Json(error));
                }
            }
        }
        self.lines(start);
        Ok((Shape::Batch, self.index))
    }

    /// Values separated by newlines; a value may span lines, a broken one ends with its line.
    fn lines(&mut self, start: usize) {
        let mut at = start;
        while at < self.body.len() {
            let (end, found) = match self.scan(at) {
                Ok((found, end)) => {
                    let line_end = self.line_end(end);
                    let rest = skip_whitespace(self.body, end);
                    if rest < line_end {
                        (line_end, Err(ScanError { kind: ScanErrorKind::Trailing, at: rest }))
                    } else {
                        (end, Ok(found))
                    }
                }
                Err(error) => (self.line_end(at), Err(error)),
            };
            let trimmed = self.body.get(at..end).unwrap_or_default().trim_ascii_end().len();
            self.hand_out(Shape::Batch, at..at + trimmed, &found);
            at = skip_whitespace(self.body, end);
        }
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = self.body.get(at..).unwrap_or_default();
        memchr::memchr(b'\n', rest).map_or(self.body.len(), |found| at + found)
    }

    /// Tells lines with a broken first one from a broken pretty-printed object: at least two lines, and one that starts
    /// with `{` in its first column and is an object by itself.
    fn has_event_lines(&mut self) -> bool {
        let lines: usize = self.body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        lines > 1
            && self.body.split(|byte| *byte == b'\n').any(|line| {
                let line = line.trim_ascii_end();
                line.starts_with(b"{")
                    && matches!(scan::scan_object(line, 0, self.known, &mut self.event), Ok(end) if end == line.len())
            })
    }
}

fn json_error(kind: ScanErrorKind, at: usize) -> ItemError {
    ItemError::Json(ScanError { kind, at })
}

#[cold]
fn check_utf8(body: &[u8], range: Range<usize>) -> Result<(), ScanError> {
    let start = range.start;
    let bytes = body.get(range).unwrap_or_default();
    std::str::from_utf8(bytes)
        .map(drop)
        .map_err(|error| ScanError { kind: ScanErrorKind::Utf8, at: start + error.valid_up_to() })
}

#[inline]
fn skip_whitespace(body: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = body.get(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// The shape, and per item `+text` if it is an event, else `-text`.
    fn items(body: impl AsRef<[u8]>, newline_type: bool) -> Result<(Shape, Vec<String>), ItemError> {
        let body = body.as_ref();
        let known = Known::new(["hostname"]);
        let mut items = Vec::new();
        let mut take = |item: Item<'_>| {
            let sign = if item.event.is_ok() { '+' } else { '-' };
            assert_eq!(item.index, items.len());
            items.push(format!("{sign}{}", String::from_utf8_lossy(&body[item.range.clone()])));
        };
        let (shape, count) = split(body, &known, newline_type, &mut take)?;
        assert_eq!(count, items.len());
        Ok((shape, items))
    }

    fn batch(expected: &[&str]) -> (Shape, Vec<String>) {
        (Shape::Batch, expected.iter().map(ToString::to_string).collect())
    }

    fn single(expected: &str) -> (Shape, Vec<String>) {
        (Shape::Single, vec![expected.to_owned()])
    }

    #[test]
    fn one_value_is_single() {
        assert_eq!(items(" {\"a\":1}\r\n", false), Ok(single("+{\"a\":1}")));
        assert_eq!(items("{\n  \"a\": {\n}\n}\n", true), Ok(single("+{\n  \"a\": {\n}\n}")));
        assert_eq!(items("null", false), Ok(single("-null")));
        assert_eq!(items("5\n", false), Ok(single("-5")));
    }

    #[test]
    fn arrays_are_batches() {
        assert_eq!(items("[]", false), Ok(batch(&[])));
        assert_eq!(items("[{\"a\":1}]", false), Ok(batch(&["+{\"a\":1}"])));
        assert_eq!(items(" [ {} , 1,null,[{}] ] ", false), Ok(batch(&["+{}", "-1", "-null", "-[{}]"])));
        assert_eq!(items("[{\"a\":NaN},{}]", false), Ok(batch(&["-{\"a\":NaN}", "+{}"])));
        assert_eq!(items("[{},NaN]", false), Ok(batch(&["+{}", "-NaN"])));
        assert_eq!(items(b"[{\"a\":\"\xff\"},{}]", false), Ok(batch(&["-{\"a\":\"\u{fffd}\"}", "+{}"])));
    }

    #[test]
    fn newlines_make_a_batch() {
        assert_eq!(items("{}\n{}", false), Ok(batch(&["+{}", "+{}"])));
        assert_eq!(items("{\"a\":1}\r\n\r\n{}\r\n", false), Ok(batch(&["+{\"a\":1}", "+{}"])));
        assert_eq!(items("{\n}\n{}\n", false), Ok(batch(&["+{\n}", "+{}"])));
        assert_eq!(items("{}\n{\"a\":}\n{}", false), Ok(batch(&["+{}", "-{\"a\":}", "+{}"])));
        assert_eq!(items("{}\n{}{}\n1", false), Ok(batch(&["+{}", "-{}{}", "-1"])));
        assert_eq!(items("{\"a\":\n{\"b\":1}\n", false), Ok(batch(&["-{\"a\":", "+{\"b\":1}"])));
        assert_eq!(items("oops\n", true), Ok(batch(&["-oops"])));
        assert_eq!(items(b"{}\n{\"a\":\"\xe4\"}\n", false), Ok(batch(&["+{}", "-{\"a\":\"\u{fffd}\"}"])));
    }

    #[test]
    fn other_bodies_are_refused_as_a_whole() {
        use ScanErrorKind as K;
        assert_eq!(items("", false), Err(ItemError::Empty));
        assert_eq!(items(" \n", true), Err(ItemError::Empty));
        for (body, kind, at) in [
            ("{}{}", K::Trailing, 2),
            ("{} {}", K::Trailing, 3),
            ("{\n\"a\": NaN\n}", K::ExpectedValue, 7),
            ("oops", K::ExpectedValue, 0),
            ("[{}", K::ExpectedCommaOrBracket, 3),
            ("[{},]", K::ExpectedValue, 4),
            ("[{}]{}", K::Trailing, 4),
            ("[{} {}]", K::ExpectedCommaOrBracket, 4),
            ("[{\"a\":1", K::ExpectedCommaOrBrace, 7),
            ("{\n \"x\": [\n  {\"a\":1}\n ],\n}", K::ExpectedKey, 24),
        ] {
            assert_eq!(items(body, false), Err(json_error(kind, at)), "{body}");
        }
    }
}
