//! What a command to Redis can end in: not sent, refused with a known answer, or unknown.

use redis::ErrorKind as LibraryKind;

/// Whether a failed command took effect, which decides what its caller may do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisErrorKind {
    /// Nothing was sent (no connection, or it is known to be closed): repeat at will.
    NotSent,
    /// Redis answered with an error, so nothing happened. `code` is the first word of the answer
    /// (`OOM`, `READONLY`, `WRONGTYPE`, `NOAUTH`, …); `NOTDURABLE` is ours: pushed, but fewer copies
    /// than asked for were confirmed in time.
    Refused {
        /// First word of Redis' error.
        code: String,
    },
    /// Sent, but the answer is lost or unreadable: it may or may not have happened.
    Unknown,
}

/// A failed command.
#[derive(Debug, Clone, thiserror::Error)]
#[error("redis: {message}")]
pub struct RedisError {
    kind: RedisErrorKind,
    message: String,
    #[source]
    source: Option<redis::RedisError>,
}

impl RedisError {
    /// What is known about the command.
    pub fn kind(&self) -> &RedisErrorKind {
        &self.kind
    }

    /// True if it may have taken effect.
    pub fn is_unknown(&self) -> bool {
        self.kind == RedisErrorKind::Unknown
    }

    /// The code of an error answer, e.g. `OOM`.
    pub fn code(&self) -> Option<&str> {
        match &self.kind {
            RedisErrorKind::Refused { code } => Some(code),
            _ => None,
        }
    }

    pub(crate) fn not_sent(message: impl Into<String>) -> Self {
        Self { kind: RedisErrorKind::NotSent, message: message.into(), source: None }
    }

    pub(crate) fn refused(code: &str, message: impl Into<String>) -> Self {
        Self { kind: RedisErrorKind::Refused { code: code.to_owned() }, message: message.into(), source: None }
    }

    pub(crate) fn unknown(message: impl Into<String>) -> Self {
        Self { kind: RedisErrorKind::Unknown, message: message.into(), source: None }
    }

    /// An answer of a shape that its command never gives: what happened is unknown.
    pub(crate) fn shape(what: &str) -> Self {
        Self::unknown(format!("unexpected answer to {what}"))
    }

    /// A failure to connect: whatever it was, the command was not sent.
    pub(crate) fn connect(error: redis::RedisError) -> Self {
        Self {
            kind: RedisErrorKind::NotSent,
            message: format!("cannot connect: {}", text(&error)),
            source: Some(error),
        }
    }

    /// The result of a command that was handed to a connection.
    pub(crate) fn sent(error: redis::RedisError) -> Self {
        let kind = match error.kind() {
            LibraryKind::Server(_) | LibraryKind::Extension => RedisErrorKind::Refused { code: server_code(&error) },
            LibraryKind::Client | LibraryKind::InvalidClientConfig => RedisErrorKind::NotSent,
            _ => RedisErrorKind::Unknown,
        };
        Self { kind, message: text(&error), source: Some(error) }
    }

    /// The error answers after which the connection leads to the wrong place: a demoted or
    /// loading server, or one that wants another password.
    pub(crate) fn wants_reconnect(&self) -> bool {
        match &self.kind {
            RedisErrorKind::NotSent => false,
            RedisErrorKind::Unknown => true,
            RedisErrorKind::Refused { code } => {
                matches!(code.as_str(), "READONLY" | "LOADING" | "MASTERDOWN" | "NOAUTH" | "WRONGPASS" | "UNBLOCKED")
            }
        }
    }
}

/// The code of the answer; of an aborted transaction, the code of the command that caused it.
fn server_code(error: &redis::RedisError) -> String {
    let outer = error.code().unwrap_or("ERR").to_owned();
    if outer != "EXECABORT" {
        return outer;
    }
    let inner = error.clone().into_server_errors();
    inner.and_then(|errors| errors.first().map(|(_, e)| e.code().to_owned())).unwrap_or(outer)
}

fn text(error: &redis::RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// Turns a redis value that carries an error into that error.
pub(crate) fn checked(value: redis::Value) -> Result<redis::Value, RedisError> {
    value.extract_error().map_err(RedisError::sent)
}
