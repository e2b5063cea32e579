//! Event times as PostgreSQL counts them: microseconds since 2000-01-01 00:00:00 UTC.

/// Unix seconds of 2000-01-01, PostgreSQL's epoch.
const POSTGRES_EPOCH_SECONDS: i64 = 946_684_800;
/// `timestamptz` ends with the year 294276 and begins with 4713 BC (PostgreSQL manual, table 8.9).
const UNIX_SECONDS_MAX: i64 = 9_224_318_015_999;
const UNIX_SECONDS_MIN: i64 = -210_866_803_200;
const MICROS: i64 = 1_000_000;

/// Microseconds since 2000-01-01 UTC of an RFC 3339 time, of `YYYY-MM-DD[T ]HH:MM:SS[.f][zone]` (without zone: UTC)
/// or of unix seconds as text; `None` for anything else.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let text = text.trim_ascii();
    if text.as_bytes().get(4) == Some(&b'-') && text.len() >= 19 { civil(text.as_bytes()) } else { unix_text(text) }
}

/// Microseconds since 2000-01-01 UTC of unix seconds.
pub(crate) fn from_unix(seconds: i64, micros: i64) -> Option<i64> {
    if !(UNIX_SECONDS_MIN..=UNIX_SECONDS_MAX).contains(&seconds) {
        return None;
    }
    Some((seconds - POSTGRES_EPOCH_SECONDS) * MICROS + micros)
}

/// Now, in PostgreSQL's microseconds.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond() - POSTGRES_EPOCH_SECONDS * MICROS
}

fn unix_text(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        _ => (false, text),
    };
    if !digits.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let sign = if negative { -1 } else { 1 };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.bytes().all(|b| b.is_ascii_digit()) && fraction.bytes().all(|b| b.is_ascii_digit()) {
        let seconds: i64 = whole.parse().ok()?;
        return from_unix(sign * seconds, sign * micros_of(fraction.as_bytes()));
    }
    // A number in scientific notation.
    let value: f64 = digits.parse().ok()?;
    if !value.is_finite() || value > UNIX_SECONDS_MAX as f64 {
        return None;
    }
    let micros = (value * 1e6) as i64 * sign;
    from_unix(micros.div_euclid(MICROS), micros.rem_euclid(MICROS))
}

/// The first six digits of a fraction, as microseconds.
fn micros_of(fraction: &[u8]) -> i64 {
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + fraction.get(place).map_or(0, |b| i64::from(b - b'0'));
    }
    micros
}

fn civil(text: &[u8]) -> Option<i64> {
    let year = number(text, 0, 4)?;
    let month = number(text, 5, 2)?;
    let day = number(text, 8, 2)?;
    let hour = number(text, 11, 2)?;
    let minute = number(text, 14, 2)?;
    let second = number(text, 17, 2)?;
    let separators = text[4] == b'-'
        && text[7] == b'-'
        && matches!(text[10], b'T' | b't' | b' ')
        && text[13] == b':'
        && text[16] == b':';
    let in_range = (1..=12).contains(&month)
        && day >= 1
        && day <= days_in_month(year, month)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !separators || !in_range {
        return None;
    }
    let mut rest = &text[19..];
    let mut micros = 0;
    if let Some((b'.' | b',', tail)) = rest.split_first().map(|(first, tail)| (*first, tail)) {
        let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        micros = micros_of(&tail[..digits]);
        rest = &tail[digits..];
    }
    let offset = zone_seconds(rest.trim_ascii())?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    from_unix(seconds, micros)
}

fn number(text: &[u8], at: usize, digits: usize) -> Option<i64> {
    let mut value = 0;
    for byte in text.get(at..at + digits)? {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

/// Seconds east of Greenwich of `""`, `Z`, `UTC`, `±HH`, `±HHMM` or `±HH:MM`.
fn zone_seconds(zone: &[u8]) -> Option<i64> {
    let sign = match zone {
        b"" | b"Z" | b"z" | b"UTC" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let hours = number(zone, 1, 2)?;
    let minutes = match zone.len() {
        3 => 0,
        5 => number(zone, 3, 2)?,
        6 if zone[3] == b':' => number(zone, 4, 2)?,
        _ => return None,
    };
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, counting years from March so that the leap day is last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unix_micros(text: &str) -> Option<i64> {
        parse(text).map(|micros| micros + POSTGRES_EPOCH_SECONDS * MICROS)
    }

    #[test]
    fn the_contract_s_forms() {
        let noon = 1_764_072_000_000_000;
        for text in [
            "2025-11-25T12:00:00Z",
            "2025-11-25 12:00:00",
            "2025-11-25T12:00:00+00:00",
            "2025-11-25T14:00:00+0200",
            "2025-11-25T07:00:00.000-05",
            "1764072000",
            "1764072000.0",
            "1.764072e9",
        ] {
            assert_eq!(unix_micros(text), Some(noon), "{text}");
        }
        assert_eq!(unix_micros("2025-11-25T12:00:00.123456789Z"), Some(noon + 123_456));
        assert_eq!(unix_micros("1764072000.5"), Some(noon + 500_000));
        assert_eq!(unix_micros("-1.5"), Some(-1_500_000));
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "now",
            "2025-13-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2025-11-25T24:00:00Z",
            "2025-11-25T12:00:00X",
            "inf",
            "NaN",
            "9999999999999999999",
            "2025-11-25",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(micros in -62_135_596_800_000_000i64..253_370_764_800_000_000) {
            let text = jiff::Timestamp::from_microsecond(micros).unwrap().to_string();
            prop_assert_eq!(unix_micros(&text), Some(micros));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}|[0-9T:. +-]{15,30}") {
            let _ = parse(&text);
        }
    }
}
