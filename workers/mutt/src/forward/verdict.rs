//! What an answer of the webhook means: the one table of CONTRACT section 5. Pure.

use mutt_queue::moog::Judgement;

/// How one POST ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An HTTP status came back.
    Status(u16),
    /// No answer within MOOG_WEBHOOK_TIMEOUT: it may have been delivered all the same.
    TimedOut,
    /// No connection, or it broke before the answer.
    Connection,
}

/// What happens to the alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Delivered.
    Done,
    /// Try again later; costs an attempt.
    Retry,
    /// Key or URL are wrong, or this alert is not wanted: pause, keep it.
    Pause,
    /// Will never be taken: to the DLQ with the answer.
    Bury,
}

/// Why an alert was not delivered: log key, metric label and the dead letter's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nothing went wrong.
    None,
    /// The webhook answered with an error, or not at all.
    Http,
    /// The webhook answered 429.
    RateLimit,
    /// It failed more than MOOG_MAX_RETRIES times.
    RetryExhausted,
    /// The breaker is open; nothing was sent.
    CircuitOpen,
}

impl Reason {
    /// The word in labels, logs and envelopes.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Http => "http",
            Self::RateLimit => "rate_limit",
            Self::RetryExhausted => "retry_exhausted",
            Self::CircuitOpen => "circuit_open",
        }
    }
}

/// Action, what it says to the shared breaker, and the reason.
pub(crate) fn of(answer: Answer) -> (Action, Judgement, Reason) {
    match answer {
        Answer::Status(200..=299) => (Action::Done, Judgement::Good, Reason::None),
        Answer::Status(429) => (Action::Retry, Judgement::Busy, Reason::RateLimit),
        Answer::Status(425) => (Action::Retry, Judgement::Neutral, Reason::Http),
        Answer::Status(408 | 500..) | Answer::TimedOut | Answer::Connection => {
            (Action::Retry, Judgement::Bad, Reason::Http)
        }
        Answer::Status(401 | 403 | 404) => (Action::Pause, Judgement::Neutral, Reason::Http),
        Answer::Status(_) => (Action::Bury, Judgement::Neutral, Reason::Http),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_contract() {
        use Action::{Bury, Done, Pause, Retry};
        use Judgement::{Bad, Busy, Good, Neutral};
        let table = [
            (&[200, 201, 202, 204, 299][..], Done, Good),
            (&[408, 500, 502, 503, 504, 599, 600], Retry, Bad),
            (&[425], Retry, Neutral),
            (&[429], Retry, Busy),
            (&[401, 403, 404], Pause, Neutral),
            (&[300, 301, 302, 304, 307, 308, 400, 402, 405, 406, 410, 413, 422, 451], Bury, Neutral),
        ];
        for (statuses, action, judgement) in table {
            for &status in statuses {
                let (got, judged, _) = of(Answer::Status(status));
                assert_eq!((got, judged), (action, judgement), "{status}");
            }
        }
        for answer in [Answer::TimedOut, Answer::Connection] {
            assert_eq!(of(answer), (Retry, Bad, Reason::Http));
        }
    }
}
