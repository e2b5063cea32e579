//! One message criterion, compiled.

use std::panic::{AssertUnwindSafe, catch_unwind};

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::ast::ErrorKind;
use regex_syntax::hir::Hir;

use super::ascii::ascii_only;
use super::engines::{Caches, Engines};
use super::late::Late;
use super::lookaround;
use super::required::{LiteralSet, required};
use super::step_limit::StepLimit;
use crate::fold::fold;
use crate::spec::MessageMatch;
use crate::validate::IssueCode;

/// Bytes of one regex's automaton, as Unicode (`\w{3,20}` alone takes half of it).
const REGEX_BYTES_MAX: usize = 2 << 20;
/// Bytes of a table for ASCII messages; a regex that needs more runs on slower engines.
const TABLE_BYTES_MAX: usize = 48 << 10;
/// Memory while such a table is made.
const TABLE_BUILD_BYTES_MAX: usize = 512 << 10;
/// Steps of a search with look-around or back-references.
pub(crate) const STEPS_MAX: usize = 10_000;
/// What a regex with look-around is taken to need, since it cannot be measured.
const BACKTRACKING_BYTES: usize = 64 << 10;
const NEST_MAX: u32 = 100;

/// A pattern that does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PatternError {
    pub(crate) code: IssueCode,
    pub(crate) message: String,
}

/// A compiled message criterion.
#[derive(Debug)]
pub(crate) enum Pattern {
    /// The message contains this text; folded.
    Contains(Box<str>),
    /// A regular expression in the strict sense: linear time.
    Regex(Box<Regex>),
    /// With look-around or back-references: bounded steps.
    Backtracking(Box<Backtracking>),
}

/// A regular expression in two forms: for ASCII messages and for all others.
#[derive(Debug)]
pub(crate) struct Regex {
    ascii: Ascii,
    unicode: Late,
    /// Parsed and cut down to ASCII, for a set of regexes that require no text; only kept where `required` is empty.
    pub(super) ascii_hir: Option<Hir>,
    required: Vec<LiteralSet>,
    /// With both forms, whether or not the second was made yet: what a set may take must not depend on its messages.
    bytes: usize,
}

#[derive(Debug)]
enum Ascii {
    Table(Box<dense::DFA<Vec<u32>>>),
    Engines(Engines),
}

/// A regex for the backtracking engine.
#[derive(Debug)]
pub(crate) struct Backtracking {
    regex: fancy_regex::Regex,
    required: Vec<LiteralSet>,
    pub(super) limit: StepLimit,
}

impl Pattern {
    /// Compiles a criterion of which exactly one field is given.
    pub(crate) fn new(criterion: &MessageMatch) -> Result<Option<Self>, PatternError> {
        match (&criterion.contains, &criterion.regex) {
            (Some(text), _) => Ok(Some(Self::Contains(fold(text).into()))),
            (None, Some(pattern)) => Self::regex(pattern).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn regex(pattern: &str) -> Result<Self, PatternError> {
        match parse(pattern, true) {
            Ok(hir) => Regex::new(pattern, &hir).map(|regex| Self::Regex(Box::new(regex))),
            Err(error) if needs_backtracking(pattern, &error) => {
                Backtracking::new(pattern).map(|regex| Self::Backtracking(Box::new(regex)))
            }
            Err(error) => Err(PatternError { code: IssueCode::Regex, message: describe(pattern, &error) }),
        }
    }

    /// Texts of which the message must contain one, in several choices; empty if any message may match.
    pub(crate) fn required(&self) -> &[LiteralSet] {
        match self {
            Self::Contains(_) => &[],
            Self::Regex(regex) => &regex.required,
            Self::Backtracking(regex) => &regex.required,
        }
    }

    /// The text to look for of a `contains`.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self {
            Self::Contains(text) => Some(text),
            Self::Regex(_) | Self::Backtracking(_) => None,
        }
    }

    /// Bytes of its automata.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Contains(text) => text.len(),
            Self::Regex(regex) => regex.bytes,
            Self::Backtracking(_) => BACKTRACKING_BYTES,
        }
    }

    /// State of the step limit, of patterns that have one.
    pub(crate) fn step_limit(&self) -> Option<&StepLimit> {
        match self {
            Self::Backtracking(regex) => Some(&regex.limit),
            Self::Contains(_) | Self::Regex(_) => None,
        }
    }
}

impl Regex {
    fn new(pattern: &str, hir: &Hir) -> Result<Self, PatternError> {
        let too_large = |error: &dyn std::fmt::Display| PatternError {
            code: IssueCode::RegexTooLarge,
            message: format!(
                "is too large once compiled ({error}); use smaller counts in {{…}} or fewer classes like \\w"
            ),
        };
        let unicode = nfa(hir, WhichCaptures::Implicit).map_err(|error| too_large(&error))?;
        let ascii_hir = ascii_only(hir);
        let ascii = nfa(&ascii_hir, WhichCaptures::Implicit).map_err(|error| too_large(&error))?;
        let mut bytes = unicode.memory_usage();
        let ascii = if let Some(table) = table(&ascii) {
            bytes += table.memory_usage();
            Ascii::Table(Box::new(table))
        } else {
            bytes += ascii.memory_usage();
            Ascii::Engines(Engines::new(ascii).map_err(|error| too_large(&error))?)
        };
        let required = parse(pattern, false).map(|hir| required(&hir)).unwrap_or_default();
        // Tried, so that it cannot fail later, and dropped.
        Engines::new(unicode).map_err(|error| too_large(&error))?;
        let unicode = Late::new(pattern);
        let ascii_hir = required.is_empty().then_some(ascii_hir);
        Ok(Self { ascii, unicode, ascii_hir, required, bytes })
    }

    /// Whether ASCII messages take the fastest way.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.ascii, Ascii::Table(_))
    }

    pub(crate) fn is_match(&self, message: &str, is_ascii: bool, caches: &mut Caches) -> bool {
        match &self.ascii {
            _ if !is_ascii => self.unicode.is_match(message, caches),
            Ascii::Engines(engines) => engines.is_match(message, caches),
            Ascii::Table(table) => {
                let input = Input::new(message).earliest(true).anchored(Anchored::No);
                match table.try_search_fwd(&input) {
                    Ok(found) => found.is_some(),
                    Err(_) => self.unicode.is_match(message, caches),
                }
            }
        }
    }
}

impl Backtracking {
    fn new(pattern: &str) -> Result<Self, PatternError> {
        let compile = || {
            let regex = fancy_regex::RegexBuilder::new(pattern)
                .case_insensitive(true)
                .backtrack_limit(STEPS_MAX)
                .delegate_size_limit(REGEX_BYTES_MAX)
                .delegate_dfa_size_limit(REGEX_BYTES_MAX / 8)
                .build()?;
            Ok((regex, lookaround::required(pattern)))
        };
        match catch_unwind(compile) {
            Ok(Ok((regex, required))) => Ok(Self { regex, required, limit: StepLimit::default() }),
            Ok(Err(error)) => {
                Err(PatternError { code: IssueCode::Regex, message: describe_backtracking(pattern, &error) })
            }
            Err(_) => Err(PatternError {
                code: IssueCode::Regex,
                message: "cannot be compiled: the engine for look-around and back-references gave up on it".to_owned(),
            }),
        }
    }

    /// Whether the regex matches within its steps; a search that ends at the limit, or in a panic of the engine, is no match and counts.
    pub(crate) fn is_match(&self, message: &str, now_seconds: u64) -> bool {
        if self.limit.is_suspended(now_seconds) {
            return false;
        }
        if let Ok(Ok(found)) = catch_unwind(AssertUnwindSafe(|| self.regex.is_match(message))) {
            return found;
        }
        self.limit.hit(now_seconds);
        false
    }
}

/// Parses for the whole of Unicode, with or without case folding.
pub(super) fn parse(pattern: &str, case_insensitive: bool) -> Result<Hir, Box<regex_syntax::Error>> {
    regex_syntax::ParserBuilder::new()
        .case_insensitive(case_insensitive)
        .nest_limit(NEST_MAX)
        .build()
        .parse(pattern)
        .map_err(Box::new)
}

pub(super) fn nfa(hir: &Hir, captures: WhichCaptures) -> Result<NFA, Box<thompson::BuildError>> {
    thompson::Compiler::new()
        .configure(thompson::Config::new().nfa_size_limit(Some(REGEX_BYTES_MAX)).which_captures(captures))
        .build_from_hir(hir)
        .map_err(Box::new)
}

fn table(nfa: &NFA) -> Option<dense::DFA<Vec<u32>>> {
    dense::Builder::new()
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::LeftmostFirst)
                .start_kind(StartKind::Unanchored)
                .dfa_size_limit(Some(TABLE_BYTES_MAX))
                .determinize_size_limit(Some(TABLE_BUILD_BYTES_MAX)),
        )
        .build_from_nfa(nfa)
        .ok()
}

/// Whether the pattern is one that only the backtracking engine knows.
fn needs_backtracking(pattern: &str, error: &regex_syntax::Error) -> bool {
    let is_unsupported = matches!(
        error,
        regex_syntax::Error::Parse(error)
            if matches!(error.kind(), ErrorKind::UnsupportedBackreference | ErrorKind::UnsupportedLookAround)
    );
    is_unsupported || ["(?>", r"\k<", r"\k'", "(?P=", "(?("].iter().any(|mark| pattern.contains(mark))
}

fn describe(pattern: &str, error: &regex_syntax::Error) -> String {
    let (kind, start, end) = match error {
        regex_syntax::Error::Parse(error) => {
            (error.kind().to_string(), error.span().start.offset, error.span().end.offset)
        }
        regex_syntax::Error::Translate(error) => {
            (error.kind().to_string(), error.span().start.offset, error.span().end.offset)
        }
        other => return format!("is no regular expression: {other}"),
    };
    let part =
        pattern.get(start..end).filter(|part| !part.is_empty()).map(|part| format!(", `{part}`")).unwrap_or_default();
    format!("is no regular expression: {kind} (character {}{part})", position(pattern, start))
}

fn describe_backtracking(pattern: &str, error: &fancy_regex::Error) -> String {
    match error {
        fancy_regex::Error::ParseError(offset, kind) => {
            format!("is no regular expression: {kind} (character {})", position(pattern, *offset))
        }
        other => format!("is no regular expression: {other}"),
    }
}

/// Counts characters from 1.
fn position(pattern: &str, offset: usize) -> usize {
    pattern.get(..offset).map_or(0, |before| before.chars().count()) + 1
}
