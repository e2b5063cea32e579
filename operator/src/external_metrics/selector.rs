//! Label selectors, with the grammar of Kubernetes' `labels.Parse`: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.

use std::{iter::Peekable, str::Chars};

/// Longer selectors are refused; an HPA's has a hundred characters.
const LENGTH_MAX: usize = 4_096;
/// Longest name of a key (behind its prefix) and longest value.
const NAME_MAX: usize = 63;
/// Longest prefix of a key: a DNS subdomain.
const PREFIX_MAX: usize = 253;

/// A selector that cannot be read, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the label selector cannot be read: {0}")]
pub(super) struct SelectorError(String);

/// Which labels are wanted. All requirements must hold; none = everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    /// Holds also without the label.
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads one.
    pub(super) fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > LENGTH_MAX {
            return Err(SelectorError(format!("it has {} bytes; at most {LENGTH_MAX} are read", text.len())));
        }
        let mut parser = Parser { tokens: tokens(text).into_iter().peekable() };
        let mut requirements = Vec::new();
        if parser.tokens.peek().is_none() {
            return Ok(Self(requirements));
        }
        loop {
            requirements.push(parser.requirement()?);
            match parser.tokens.next() {
                None => return Ok(Self(requirements)),
                Some(Token::Comma) => {}
                Some(other) => return Err(unexpected(Some(&other), "a comma or the end")),
            }
        }
    }

    /// Whether these labels are wanted.
    pub(super) fn matches(&self, labels: &[(&str, &str)]) -> bool {
        self.0.iter().all(|Requirement { key, operator }| {
            let value = labels.iter().find(|(name, _)| name == key).map(|(_, value)| *value);
            let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|wanted| wanted == value));
            match operator {
                Operator::In(values) => among(values),
                Operator::NotIn(values) => !among(values),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Comma,
    Open,
    Close,
    Not,
    Equals,
    NotEquals,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut letters = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(letter) = letters.next() {
        tokens.push(match letter {
            letter if letter.is_ascii_whitespace() => continue,
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '=' => {
                letters.next_if_eq(&'=');
                Token::Equals
            }
            '!' if letters.next_if_eq(&'=').is_some() => Token::NotEquals,
            '!' => Token::Not,
            first => Token::Word(word(first, &mut letters)),
        });
    }
    tokens
}

fn word(first: char, letters: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::from(first);
    while let Some(letter) =
        letters.next_if(|letter| !letter.is_ascii_whitespace() && !matches!(letter, ',' | '(' | ')' | '=' | '!'))
    {
        word.push(letter);
    }
    word
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let is_not = self.tokens.next_if_eq(&Token::Not).is_some();
        let key = match self.tokens.next() {
            Some(Token::Word(word)) => checked_key(word)?,
            other => return Err(unexpected(other.as_ref(), "a label's name")),
        };
        if is_not {
            return Ok(Requirement { key, operator: Operator::DoesNotExist });
        }
        let operator = match self.tokens.peek() {
            None | Some(Token::Comma) => return Ok(Requirement { key, operator: Operator::Exists }),
            _ => self.tokens.next(),
        };
        let operator = match operator {
            Some(Token::Equals) => Operator::In(vec![self.value()?]),
            Some(Token::NotEquals) => Operator::NotIn(vec![self.value()?]),
            Some(Token::Word(word)) if word == "in" => Operator::In(self.values()?),
            Some(Token::Word(word)) if word == "notin" => Operator::NotIn(self.values()?),
            other => return Err(unexpected(other.as_ref(), "=, ==, !=, in or notin")),
        };
        Ok(Requirement { key, operator })
    }

    /// `a=` asks for an empty value.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.tokens.peek() {
            None | Some(Token::Comma | Token::Close) => Ok(String::new()),
            _ => match self.tokens.next() {
                Some(Token::Word(word)) => checked_value(word),
                other => Err(unexpected(other.as_ref(), "a value")),
            },
        }
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.tokens.next() {
            Some(Token::Open) => {}
            other => return Err(unexpected(other.as_ref(), "(")),
        }
        if let Some(close) = self.tokens.next_if_eq(&Token::Close) {
            return Err(unexpected(Some(&close), "a value"));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            match self.tokens.next() {
                Some(Token::Comma) => {}
                Some(Token::Close) => return Ok(values),
                other => return Err(unexpected(other.as_ref(), "a comma or )")),
            }
        }
    }
}

fn unexpected(found: Option<&Token>, wanted: &str) -> SelectorError {
    let found = match found {
        None => "its end".to_owned(),
        Some(Token::Word(word)) => format!("{word:?}"),
        Some(Token::Comma) => "a comma".to_owned(),
        Some(Token::Open) => "(".to_owned(),
        Some(Token::Close) => ")".to_owned(),
        Some(Token::Not) => "!".to_owned(),
        Some(Token::Equals) => "=".to_owned(),
        Some(Token::NotEquals) => "!=".to_owned(),
    };
    SelectorError(format!("{found} where {wanted} is expected"))
}

fn checked_key(key: String) -> Result<String, SelectorError> {
    let (prefix, name) = key.split_once('/').map_or((None, key.as_str()), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| {
        let part = |part: &str| is_name(part) && part.bytes().all(|byte| !byte.is_ascii_uppercase() && byte != b'_');
        prefix.len() <= PREFIX_MAX && prefix.split('.').all(part)
    };
    if is_name(name) && name.len() <= NAME_MAX && prefix.is_none_or(is_prefix) {
        Ok(key)
    } else {
        Err(SelectorError(format!("{key:?} is no name of a label")))
    }
}

fn checked_value(value: String) -> Result<String, SelectorError> {
    if value.is_empty() || (is_name(&value) && value.len() <= NAME_MAX) {
        Ok(value)
    } else {
        Err(SelectorError(format!("{value:?} is no value of a label")))
    }
}

/// Letters, digits and `-_.`, a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let ends = |text: &str| {
        text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().last().is_some_and(|byte| byte.is_ascii_alphanumeric())
    };
    ends(text) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const LABELS: &[(&str, &str)] = &[("pipeline", "core"), ("queue", "ingest"), ("state", "waiting")];

    #[test]
    fn selectors_choose_as_kubernetes_does() {
        for (text, matches) in [
            ("", true),
            ("  ", true),
            ("pipeline=core", true),
            ("pipeline==core", true),
            (" pipeline = core , queue = ingest ", true),
            ("pipeline=edge", false),
            ("pipeline!=core", false),
            ("pipeline!=edge", true),
            ("absent!=edge", true),
            ("absent=edge", false),
            ("pipeline in (core)", true),
            ("pipeline in (edge, core),state=waiting", true),
            ("pipeline in(edge)", false),
            ("pipeline notin (edge)", true),
            ("pipeline notin (edge,core)", false),
            ("absent notin (edge)", true),
            ("pipeline", true),
            ("absent", false),
            ("!absent", true),
            ("! pipeline", false),
            ("pipeline,!absent,queue in (ingest,alert)", true),
            ("pipeline=", false),
            ("pipeline in (core,)", true),
            ("pipeline in (,)", false),
            ("pipeline!=,queue", true),
            ("in in (in)", false),
            ("notin", false),
            ("example.com/x", false),
            ("!example.com/x_Y.z-0", true),
        ] {
            assert_eq!(Selector::parse(text).expect(text).matches(LABELS), matches, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_the_place() {
        for (text, said) in [
            ("pipeline=core,", "its end where a label's name"),
            (",pipeline", "a comma where a label's name"),
            ("pipeline core", "\"core\" where =, ==, !=, in or notin"),
            ("pipeline=core queue", "\"queue\" where a comma or the end"),
            ("pipeline in core", "\"core\" where ("),
            ("pipeline in (core", "its end where a comma or )"),
            ("pipeline in (core edge)", "\"edge\" where a comma or )"),
            ("pipeline in (=)", "= where a value"),
            ("pipeline in ()", ") where a value"),
            ("pipeline=)", ") where a comma or the end"),
            ("!pipeline=core", "= where a comma or the end"),
            ("!!pipeline", "! where a label's name"),
            ("pipeline>3", "\"pipeline>3\" is no name"),
            ("-x=1", "\"-x\" is no name"),
            ("a/b/c", "\"a/b/c\" is no name"),
            ("Ex.com/a", "\"Ex.com/a\" is no name"),
            ("/a", "\"/a\" is no name"),
            ("pipeline=cöre", "\"cöre\" is no value"),
            ("pipeline=-", "\"-\" is no value"),
        ] {
            let error = Selector::parse(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(Selector::parse(&"a".repeat(64)).is_err());
        assert!(Selector::parse(&format!("a={}", "b".repeat(64))).is_err());
        assert!(Selector::parse(&" ".repeat(LENGTH_MAX + 1)).is_err());
    }
}
