//! Why a request or an item was refused: one word that is at once the answer's code, the metric's label, the reason of a
//! dead letter and the log key (CONTRACT section 7).

use hyper::StatusCode;

/// The reason of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    Auth,
    Json,
    Validation,
    QueueFull,
    Redis,
    RateLimit,
    Unknown,
    NotFound,
    Method,
    MediaType,
    TooLarge,
    DlqFull,
}

impl Reason {
    pub(crate) const ALL: [Self; 12] = [
        Self::Auth,
        Self::Json,
        Self::Validation,
        Self::QueueFull,
        Self::Redis,
        Self::RateLimit,
        Self::Unknown,
        Self::NotFound,
        Self::Method,
        Self::MediaType,
        Self::TooLarge,
        Self::DlqFull,
    ];

    /// The word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Json => "json",
            Self::Validation => "validation",
            Self::QueueFull => "queue_full",
            Self::Redis => "redis",
            Self::RateLimit => "rate_limit",
            Self::Unknown => "unknown",
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::MediaType => "media_type",
            Self::TooLarge => "too_large",
            Self::DlqFull => "dlq_full",
        }
    }

    /// The status of an answer that refuses a whole request. 4xx only for what will never be good: rsyslog drops on 4xx
    /// and repeats on 429 and 5xx.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Auth => StatusCode::UNAUTHORIZED,
            Self::Json | Self::Validation => StatusCode::BAD_REQUEST,
            Self::QueueFull | Self::Redis | Self::DlqFull => StatusCode::SERVICE_UNAVAILABLE,
            Self::RateLimit => StatusCode::TOO_MANY_REQUESTS,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}
