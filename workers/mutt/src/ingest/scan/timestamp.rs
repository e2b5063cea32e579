//! Timestamps of senders: RFC 3339, `YYYY-MM-DD[T ]HH:MM:SS[.f][zone]` (without zone = UTC), or unix seconds.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

/// Years 1 to 9999, in unix seconds: what PostgreSQL's timestamptz and RFC 3339 both hold.
const SECONDS_MIN: i64 = -62_135_596_800;
const SECONDS_MAX: i64 = 253_402_300_799;

/// Microseconds since 1970-01-01 UTC of a timestamp in text form; `None` if it is none.
pub(crate) fn parse_text(text: &[u8]) -> Option<i64> {
    match text.get(4) {
        Some(b'-') if text.len() >= 19 => parse_civil(text),
        _ => parse_unix(text),
    }
}

/// The same for unix seconds, with or without a fraction; an exponent is taken as a JSON number may have one.
pub(crate) fn parse_unix(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.contains(['e', 'E']) {
        let seconds: f64 = text.parse().ok().filter(|seconds: &f64| seconds.is_finite())?;
        return in_range(seconds as i64).map(|_| (seconds * 1e6) as i64);
    }
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if !is_digits(whole.as_bytes()) || !is_digits(fraction.as_bytes()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let seconds = in_range(sign * whole)?;
    Some(seconds * 1_000_000 + sign * micros(fraction.as_bytes()))
}

fn in_range(seconds: i64) -> Option<i64> {
    (SECONDS_MIN..=SECONDS_MAX).contains(&seconds).then_some(seconds)
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// The first six digits of a fraction.
fn micros(fraction: &[u8]) -> i64 {
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(6);
    digits.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'))
}

fn number(text: &[u8]) -> Option<i16> {
    if !is_digits(text) {
        return None;
    }
    Some(text.iter().fold(0, |value, digit| value * 10 + i16::from(digit - b'0')))
}

fn parse_civil(text: &[u8]) -> Option<i64> {
    let at = |range: std::ops::Range<usize>| text.get(range).and_then(number);
    let separators = [text.get(4)?, text.get(7)?, text.get(13)?, text.get(16)?];
    if separators != [&b'-', &b'-', &b':', &b':'] || !matches!(text.get(10)?, b'T' | b't' | b' ') {
        return None;
    }
    let date = Date::new(at(0..4)?, at(5..7)? as i8, at(8..10)? as i8).ok()?;
    // RFC 3339 allows a leap second; it counts as the one before, as in jiff and in PostgreSQL's own reading of :60.
    let second = at(17..19)?;
    let second = if second == 60 { 59 } else { second };
    let time = Time::new(at(11..13)? as i8, at(14..16)? as i8, second as i8, 0).ok()?;
    let mut rest = text.get(19..)?;
    let mut fraction = 0;
    if let Some(after) = rest.strip_prefix(b".") {
        let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        fraction = micros(after.get(..digits)?);
        rest = after.get(digits..)?;
    }
    let local = Offset::UTC.to_timestamp(DateTime::from_parts(date, time)).ok()?;
    let seconds = in_range(local.as_second() - zone_seconds(rest)?)?;
    Some(seconds * 1_000_000 + fraction)
}

/// Seconds east of UTC: nothing, `Z`, `±HH:MM`, `±HHMM` or `±HH`, with a space before it at most.
fn zone_seconds(zone: &[u8]) -> Option<i64> {
    let zone = zone.strip_prefix(b" ").unwrap_or(zone);
    if matches!(zone, b"" | b"Z" | b"z" | b"UTC") {
        return Some(0);
    }
    let sign = match zone.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = match zone.len() {
        3 => (number(zone.get(1..3)?)?, 0),
        5 => (number(zone.get(1..3)?)?, number(zone.get(3..5)?)?),
        6 if zone.get(3) == Some(&b':') => (number(zone.get(1..3)?)?, number(zone.get(4..6)?)?),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60))
}
