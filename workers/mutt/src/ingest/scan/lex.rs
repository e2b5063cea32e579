//! Tokens: strings, numbers, literals, and the iterative walk over nested values.

use super::{DEPTH_MAX, ScanError, ScanErrorKind};

/// Longest number taken, in characters; PostgreSQL's numeric holds far more, a sender's counter far less.
const NUMBER_CHARS_MAX: usize = 1_000;
/// Largest positive exponent: 1e308 is the last power of ten a double holds.
const EXPONENT_MAX: u32 = 308;
/// Largest negative exponent: doubles go down to 5e-324, and numeric's scale (16,383) must never be reached.
const NEGATIVE_EXPONENT_MAX: u32 = 400;

/// What kind of value a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A string; the flag says whether it has escapes. Its slot includes the quotes.
    Text {
        escaped: bool,
    },
    Number,
    Null,
    Bool,
    Object,
    Array,
}

/// A position in the text and what has been noticed so far.
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    pub(super) at: usize,
    /// An escaped NUL was seen: the stored text must have it replaced.
    pub(super) nul: bool,
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks bytes that end the plain part of a string: `"`, `\` and control characters. Eight bytes at a time without
/// branches (Mycroft's zero-byte test); the lowest mark is always exact, which is the one used.
#[inline]
fn marks(word: u64) -> u64 {
    let quote = word ^ (LOW * u64::from(b'"'));
    let slash = word ^ (LOW * u64::from(b'\\'));
    let zero_quote = quote.wrapping_sub(LOW) & !quote;
    let zero_slash = slash.wrapping_sub(LOW) & !slash;
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    (zero_quote | zero_slash | control) & HIGH
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at, nul: false }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    #[inline]
    pub(super) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.text.get(start..end).unwrap_or_default()
    }

    #[inline]
    pub(super) fn whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// An error at the byte just consumed.
    #[cold]
    pub(super) fn error_before(&self, kind: ScanErrorKind) -> ScanError {
        ScanError { kind, at: self.at.saturating_sub(1).min(self.text.len()) }
    }

    #[cold]
    fn error_here(&self, kind: ScanErrorKind) -> ScanError {
        ScanError { kind, at: self.at.min(self.text.len()) }
    }

    /// `:` with white space round it.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), ScanError> {
        self.whitespace();
        if self.next() != Some(b':') {
            return Err(self.error_before(ScanErrorKind::ExpectedColon));
        }
        self.whitespace();
        Ok(())
    }

    /// The rest of a string whose opening quote is consumed; says whether it has escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<bool, ScanError> {
        let mut escaped = false;
        loop {
            self.plain();
            match self.next() {
                Some(b'"') => return Ok(escaped),
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.error_before(ScanErrorKind::ControlCharacter)),
                None => return Err(self.error_before(ScanErrorKind::UnterminatedString)),
            }
        }
    }

    /// Moves to the next quote, backslash, control character or the end.
    #[inline]
    fn plain(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut words = rest.chunks_exact(8);
        for chunk in words.by_ref() {
            let word = chunk.iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
            let found = marks(word);
            if found != 0 {
                self.at += (found.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        for byte in words.remainder() {
            if matches!(byte, b'"' | b'\\' | 0..=0x1f) {
                return;
            }
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        match self.next() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => {
                let unit = self.hex4()?;
                match unit {
                    0 => self.nul = true,
                    0xD800..=0xDBFF => self.low_surrogate()?,
                    0xDC00..=0xDFFF => return Err(self.error_before(ScanErrorKind::LoneSurrogate)),
                    _ => {}
                }
                Ok(())
            }
            None => Err(self.error_before(ScanErrorKind::UnterminatedString)),
            Some(_) => Err(self.error_before(ScanErrorKind::Escape)),
        }
    }

    fn low_surrogate(&mut self) -> Result<(), ScanError> {
        if self.slice(self.at, self.at + 2) != b"\\u" {
            return Err(self.error_before(ScanErrorKind::LoneSurrogate));
        }
        self.at += 2;
        match self.hex4()? {
            0xDC00..=0xDFFF => Ok(()),
            _ => Err(self.error_before(ScanErrorKind::LoneSurrogate)),
        }
    }

    fn hex4(&mut self) -> Result<u32, ScanError> {
        let digits = self.slice(self.at, self.at + 4);
        if digits.len() != 4 {
            return Err(self.error_here(ScanErrorKind::Escape));
        }
        let mut unit = 0;
        for digit in digits {
            let Some(value) = char::from(*digit).to_digit(16) else {
                return Err(self.error_here(ScanErrorKind::Escape));
            };
            unit = unit * 16 + value;
        }
        self.at += 4;
        Ok(unit)
    }

    /// One value; `depth` counts the containers round it.
    #[inline]
    pub(super) fn value(&mut self, depth: u32) -> Result<Kind, ScanError> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                let escaped = self.string()?;
                Ok(Kind::Text { escaped })
            }
            Some(b'{') => self.nested(depth).map(|()| Kind::Object),
            Some(b'[') => self.nested(depth).map(|()| Kind::Array),
            _ => self.scalar(),
        }
    }

    fn scalar(&mut self) -> Result<Kind, ScanError> {
        let (word, kind): (&[u8], Kind) = match self.peek() {
            Some(b'-' | b'0'..=b'9') => return self.number().map(|()| Kind::Number),
            Some(b't') => (b"true", Kind::Bool),
            Some(b'f') => (b"false", Kind::Bool),
            Some(b'n') => (b"null", Kind::Null),
            _ => return Err(self.error_here(ScanErrorKind::ExpectedValue)),
        };
        if self.slice(self.at, self.at + word.len()) != word {
            return Err(self.error_here(ScanErrorKind::ExpectedValue));
        }
        self.at += word.len();
        Ok(kind)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(ScanError { kind: ScanErrorKind::Number, at: start });
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.error_here(ScanErrorKind::Number));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.exponent()?;
        }
        if self.at - start > NUMBER_CHARS_MAX {
            return Err(ScanError { kind: ScanErrorKind::NumberLength, at: start });
        }
        Ok(())
    }

    fn exponent(&mut self) -> Result<(), ScanError> {
        let max = match self.peek() {
            Some(b'-') => {
                self.at += 1;
                NEGATIVE_EXPONENT_MAX
            }
            Some(b'+') => {
                self.at += 1;
                EXPONENT_MAX
            }
            _ => EXPONENT_MAX,
        };
        let start = self.at;
        if self.digits() == 0 {
            return Err(self.error_here(ScanErrorKind::Number));
        }
        let value = self
            .slice(start, self.at)
            .iter()
            .fold(0_u32, |value, digit| value.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
        if value > max {
            return Err(ScanError { kind: ScanErrorKind::Exponent, at: start });
        }
        Ok(())
    }

    /// An object or array of any depth: one bit per open container (1 = object) instead of recursion.
    fn nested(&mut self, outer: u32) -> Result<(), ScanError> {
        let mut objects = 0_u64;
        let mut open = 0_u32;
        loop {
            // A value is due here.
            let mut closed = false;
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    open += 1;
                    if outer + open > DEPTH_MAX {
                        return Err(self.error_here(ScanErrorKind::Depth));
                    }
                    let object = bracket == b'{';
                    objects = (objects << 1) | u64::from(object);
                    self.at += 1;
                    self.whitespace();
                    let end = if object { b'}' } else { b']' };
                    if self.peek() == Some(end) {
                        self.at += 1;
                        closed = true;
                    } else {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => {
                    self.leaf()?;
                }
            }
            // A value is complete: close what it completes, then go on to the next member.
            loop {
                if closed {
                    open -= 1;
                    objects >>= 1;
                    if open == 0 {
                        return Ok(());
                    }
                }
                closed = self.after_value(objects & 1 == 1)?;
                if !closed {
                    break;
                }
            }
        }
    }

    fn leaf(&mut self) -> Result<(), ScanError> {
        if self.peek() == Some(b'"') {
            self.at += 1;
            self.string()?;
        } else {
            self.scalar()?;
        }
        Ok(())
    }

    fn key(&mut self) -> Result<(), ScanError> {
        if self.next() != Some(b'"') {
            return Err(self.error_before(ScanErrorKind::ExpectedKey));
        }
        self.string()?;
        self.colon()
    }

    /// After a value inside a container: true = the container closed, false = the next value is due.
    fn after_value(&mut self, object: bool) -> Result<bool, ScanError> {
        self.whitespace();
        match (self.next(), object) {
            (Some(b','), _) => {
                self.whitespace();
                if object {
                    self.key()?;
                }
                Ok(false)
            }
            (Some(b'}'), true) | (Some(b']'), false) => Ok(true),
            (_, true) => Err(self.error_before(ScanErrorKind::ExpectedCommaOrBrace)),
            (_, false) => Err(self.error_before(ScanErrorKind::ExpectedCommaOrBracket)),
        }
    }
}
