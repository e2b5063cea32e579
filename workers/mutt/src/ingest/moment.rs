//! The moment a request came in: its milliseconds for ids, and its text for events.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `YYYY-MM-DDTHH:MM:SS`.
type Second = [u8; 19];

thread_local! {
    /// The last second that was written as text: a thousand requests share it.
    static LAST: Cell<(u64, Second)> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
}

/// A moment; as text RFC 3339, UTC, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(Duration);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Milliseconds since 1970.
    pub(crate) fn millis(self) -> u64 {
        self.0.as_millis() as u64
    }

    /// The text form.
    pub(crate) fn text(self) -> MomentText {
        let micros = self.0.subsec_micros();
        let digit = |unit: u32| b'0' + (micros / unit % 10) as u8;
        let fraction = [b'.', digit(100_000), digit(10_000), digit(1_000), digit(100), digit(10), digit(1), b'Z'];
        MomentText { second: second_text(self.0.as_secs()), fraction }
    }
}

fn second_text(second: u64) -> Second {
    let (of, text) = LAST.get();
    if of == second {
        return text;
    }
    let written = jiff::Timestamp::from_second(second as i64).unwrap_or_default().to_string();
    let text = written.as_bytes().first_chunk().copied().unwrap_or(text);
    LAST.set((second, text));
    text
}

/// A moment's text in two parts, the second and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MomentText {
    second: Second,
    fraction: [u8; 8],
}

impl MomentText {
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.second);
        out.extend_from_slice(&self.fraction);
    }
}

impl fmt::Display for MomentText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.second[..], &self.fraction] {
            f.write_str(std::str::from_utf8(part).unwrap_or_default())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_jiff_writes() {
        for micros in [0, 1, 999_999, 1_000_000, 1_717_243_199_999_999, 1_717_243_200_000_000, 4_102_444_800_120_034] {
            let expected = jiff::Timestamp::from_microsecond(micros).map(|at| format!("{at:.6}"));
            let text = Moment(Duration::from_micros(micros as u64)).text();
            assert_eq!(expected.ok(), Some(text.to_string()));
            let mut written = Vec::new();
            text.write(&mut written);
            assert_eq!(written, text.to_string().as_bytes());
        }
    }
}
