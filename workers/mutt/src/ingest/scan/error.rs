//! Why a text was refused by the scanner.

use std::fmt;

/// What is wrong; `Display` gives the words a sender sees after `Invalid JSON: `.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanErrorKind {
    ExpectedValue,
    ExpectedKey,
    ExpectedColon,
    ExpectedCommaOrBrace,
    ExpectedCommaOrBracket,
    UnterminatedString,
    ControlCharacter,
    Escape,
    LoneSurrogate,
    Number,
    NumberLength,
    Exponent,
    Depth,
    Utf8,
    Trailing,
    /// The slot of the known key that came twice.
    DuplicateKey(u8),
}

/// A refusal with the byte position (from the start of the body) where it was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScanError {
    pub(crate) kind: ScanErrorKind,
    pub(crate) at: usize,
}

impl fmt::Display for ScanErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExpectedValue => "expected a value",
            Self::ExpectedKey => "expected a key in double quotes",
            Self::ExpectedColon => "expected ':'",
            Self::ExpectedCommaOrBrace => "expected ',' or '}'",
            Self::ExpectedCommaOrBracket => "expected ',' or ']'",
            Self::UnterminatedString => "unterminated string",
            Self::ControlCharacter => "control character in a string",
            Self::Escape => "invalid escape",
            Self::LoneSurrogate => "lone surrogate",
            Self::Number => "invalid number",
            Self::NumberLength => "number longer than 1000 characters",
            Self::Exponent => "number out of range",
            Self::Depth => "nesting deeper than 64 levels",
            Self::Utf8 => "invalid UTF-8",
            Self::Trailing => "unexpected characters after the value",
            Self::DuplicateKey(_) => "duplicate key",
        })
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.at)
    }
}

impl std::error::Error for ScanError {}
