//! A refusal of a whole request on its way to an answer, the metric and the log.

use std::borrow::Cow;

use hyper::StatusCode;

use super::answer::Answer;
use super::metrics::Metrics;
use super::reason::Reason;
use super::validate::Refusal;

/// Seconds after which a sender should try again while Redis is away: it is back soon or for long.
const RETRY_REDIS_S: u64 = 1;
/// A person must empty the dead letters.
const RETRY_DLQ_FULL_S: u64 = 30;

/// What is answered instead of an acceptance.
#[derive(Debug)]
pub(crate) struct Reject {
    pub(crate) reason: Reason,
    message: Cow<'static, str>,
    extra: String,
    status: StatusCode,
    retry_after_s: Option<u64>,
    allow: Option<&'static str>,
    /// Events refused, as far as they are not counted already.
    events: u64,
}

impl Reject {
    /// One event (or a request whose events are not known) is refused.
    pub(crate) fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
            extra: String::new(),
            status: reason.status(),
            retry_after_s: None,
            allow: None,
            events: 1,
        }
    }

    /// Redis did not take it, or did not say so.
    pub(crate) fn redis() -> Self {
        Self::new(Reason::Redis, "Service Unavailable - Redis error").retry_after(RETRY_REDIS_S)
    }

    /// There is no room for the refused items of a batch, so the whole of it has to come again.
    pub(crate) fn dlq_full() -> Self {
        let message = "Service Unavailable - the dead letters of refused items are full";
        Self::new(Reason::DlqFull, message).retry_after(RETRY_DLQ_FULL_S)
    }

    pub(crate) fn events(mut self, events: u64) -> Self {
        self.events = events;
        self
    }

    /// Further members of the answer, each with its leading comma.
    pub(crate) fn extra(mut self, extra: String) -> Self {
        self.extra = extra;
        self
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Counts and logs it and builds the answer.
    pub(crate) fn answer(self, metrics: &Metrics, correlation: &str) -> Answer {
        metrics.refuse(self.reason, self.events);
        tracing::debug!(reason = self.reason.word(), correlation_id = correlation, "{}", self.message);
        let mut answer = Answer::error(self.reason, &self.message, correlation, &self.extra).with_status(self.status);
        if let Some(seconds) = self.retry_after_s {
            answer = answer.retry_after(seconds);
        }
        if let Some(methods) = self.allow {
            answer = answer.allow(methods);
        }
        answer
    }
}

impl From<Refusal> for Reject {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.reason, refusal.message)
    }
}
