//! Answers of the forwarder's scripts as types.

use std::time::Duration;

use redis::{FromRedisValue, Value};

/// Why a take gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// No alert waits.
    Empty,
    /// The shared rate has no slot now.
    Limited,
    /// The breaker is open.
    Open,
    /// The breaker is half-open and another alert probes.
    Probing,
    /// Key or URL were refused.
    Paused,
}

/// State of the shared breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Alerts flow.
    Closed,
    /// One probe at a time.
    HalfOpen,
    /// Nothing is sent.
    Open,
}

impl BreakerState {
    pub(crate) fn parse(word: &str) -> Self {
        match word {
            "OPEN" => Self::Open,
            "HALF_OPEN" => Self::HalfOpen,
            _ => Self::Closed,
        }
    }

    /// The value of the metric `mutt_circuit_breaker_state`.
    pub fn number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// The shared breaker as the answer shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Its state now.
    pub state: BreakerState,
    /// Failures in a row.
    pub failures: u64,
    /// States it entered by this very call: over all workers each change is told once.
    pub entered: Vec<BreakerState>,
}

pub(crate) struct TakeReply {
    pub(crate) hold: Option<Hold>,
    pub(crate) wait: Option<Duration>,
    pub(crate) breaker_epoch: u64,
    pub(crate) pause_epoch: u64,
    pub(crate) probe_flags: u64,
    pub(crate) breaker: Breaker,
    pub(crate) depth: u64,
    pub(crate) bodies: Vec<Vec<u8>>,
}

impl TakeReply {
    pub(crate) fn parse(value: Value) -> Option<Self> {
        let Value::Array(fields) = value else { return None };
        let [status, wait, breaker_epoch, pause_epoch, probe_flags, state, failures, transition, depth, bodies] =
            <[Value; 10]>::try_from(fields).ok()?;
        let hold = match read::<String>(status)?.as_str() {
            "granted" => None,
            "empty" | "busy" => Some(Hold::Empty),
            "limited" => Some(Hold::Limited),
            "open" => Some(Hold::Open),
            "probing" => Some(Hold::Probing),
            "paused" => Some(Hold::Paused),
            _ => return None,
        };
        let transition: String = read(transition)?;
        let entered = (!transition.is_empty()).then(|| BreakerState::parse(&transition));
        let Value::Array(bodies) = bodies else { return None };
        Some(Self {
            hold,
            wait: u64::try_from(read::<i64>(wait)?).ok().map(Duration::from_millis),
            breaker_epoch: read(breaker_epoch)?,
            pause_epoch: read(pause_epoch)?,
            probe_flags: read(probe_flags)?,
            breaker: Breaker {
                state: BreakerState::parse(&read::<String>(state)?),
                failures: read(failures)?,
                entered: entered.into_iter().collect(),
            },
            depth: read(depth)?,
            bodies: bodies.into_iter().map(bytes).collect::<Option<_>>()?,
        })
    }
}

pub(crate) struct FinishReply {
    pub(crate) breaker: Breaker,
    pub(crate) paused: bool,
    pub(crate) owned: Vec<bool>,
}

impl FinishReply {
    pub(crate) fn parse(value: Value) -> Option<Self> {
        let Value::Array(fields) = value else { return None };
        let [state, failures, entered, paused, owned] = <[Value; 5]>::try_from(fields).ok()?;
        let entered: Vec<String> = read(entered)?;
        Some(Self {
            breaker: Breaker {
                state: BreakerState::parse(&read::<String>(state)?),
                failures: read(failures)?,
                entered: entered.iter().map(|word| BreakerState::parse(word)).collect(),
            },
            paused: read::<u8>(paused)? == 1,
            owned: read::<Vec<u8>>(owned)?.into_iter().map(|one| one == 1).collect(),
        })
    }
}

fn read<T: FromRedisValue>(value: Value) -> Option<T> {
    T::from_redis_value(value).ok()
}

/// A string without a copy.
fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
