//! Times of the API: ISO 8601, UTC on the way out; a date, a time without zone (= UTC) or with one on the way in.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::error::ApiError;
use super::input::Params;

/// PostgreSQL's and our own representation: microseconds since 1970, UTC.
pub(crate) type Micros = i64;

/// ISO 8601 in UTC with microseconds as far as there are any.
pub(crate) fn iso(micros: Micros) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| format!("{micros} µs since 1970"), |time| time.to_string())
}

/// Which end of a range a date names: a date as the end includes its whole day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// `start_date`: from that instant on.
    Start,
    /// `end_date`: up to and including that instant or day.
    Last,
}

/// Reads `start_date` or `end_date`. The end is returned exclusive.
pub(crate) fn parameter(params: &Params, name: &str, end: End) -> Result<Option<Micros>, ApiError> {
    params.get(name)?.map(|text| parse(name, text, end)).transpose()
}

/// The range of a search. A start after its end is an error of the end.
pub(crate) fn range(params: &Params) -> Result<(Option<Micros>, Option<Micros>), ApiError> {
    let start = parameter(params, "start_date", End::Start)?;
    let end = parameter(params, "end_date", End::Last)?;
    if let (Some(start), Some(end)) = (start, end)
        && start >= end
    {
        return Err(ApiError::field("end_date", "must not be before start_date"));
    }
    Ok((start, end))
}

fn parse(name: &str, text: &str, end: End) -> Result<Micros, ApiError> {
    let wrong =
        || ApiError::field(name, "must be an ISO 8601 date or time, such as 2026-01-31 or 2026-01-31T08:00:00Z");
    // A plus sign that was not percent-encoded arrives as a space.
    let text = restore_plus(text);
    if text.len() <= 10
        && let Ok(date) = text.parse::<Date>()
    {
        let date = match end {
            End::Start => date,
            End::Last => date.checked_add(1.day()).map_err(|_| wrong())?,
        };
        return micros(date.to_datetime(jiff::civil::Time::midnight())).ok_or_else(wrong);
    }
    let instant = match text.parse::<Timestamp>() {
        Ok(timestamp) => in_bounds(timestamp.as_microsecond()),
        Err(_) => text.parse::<DateTime>().ok().and_then(micros),
    };
    let instant = instant.ok_or_else(wrong)?;
    Ok(match end {
        End::Start => instant,
        End::Last => instant + 1,
    })
}

fn restore_plus(text: &str) -> String {
    match text.rsplit_once(' ') {
        Some((time, zone)) if time.contains(['T', ' ']) && zone.len() <= 6 => {
            format!("{time}+{zone}")
        }
        _ => text.to_owned(),
    }
}

fn micros(civil: DateTime) -> Option<Micros> {
    let timestamp = TimeZone::UTC.to_timestamp(civil).ok()?;
    in_bounds(timestamp.as_microsecond())
}

/// Years 1 to 9999: inside what PostgreSQL and ISO 8601 can say.
fn in_bounds(micros: Micros) -> Option<Micros> {
    const YEAR_1: Micros = -62_135_596_800_000_000;
    const YEAR_10000: Micros = 253_402_300_800_000_000;
    (YEAR_1..YEAR_10000).contains(&micros).then_some(micros)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_with_and_without_zone() {
        let day = 1_767_225_600_000_000; // 2026-01-01T00:00:00Z
        let hour = 3_600_000_000;
        for (text, start, end) in [
            ("2026-01-01", day, day + 24 * hour),
            ("2026-01-01T00:00:00Z", day, day + 1),
            ("2026-01-01T00:00:00", day, day + 1),
            ("2026-01-01 00:00:00", day, day + 1),
            ("2026-01-01T02:00:00+02:00", day, day + 1),
            ("2026-01-01T02:00:00 02:00", day, day + 1),
            ("2026-01-01T00:00:00.000001Z", day + 1, day + 2),
            ("2026-01-01T01:00", day + hour, day + hour + 1),
        ] {
            assert_eq!(parse("d", text, End::Start).unwrap(), start, "{text}");
            assert_eq!(parse("d", text, End::Last).unwrap(), end, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_named() {
        for text in [
            "yesterday",
            "2026-13-01",
            "2026-02-30",
            "2026-01-01T25:00:00Z",
            "1",
            "'; DROP TABLE event_audit_log; --",
            "9999999-01-01",
            "-9999-01-01",
            "0000-01-01",
            "2026-01-01T00:00:00Z\u{0}",
            "9999-12-31T23:59:59-23:59",
        ] {
            let error = parse("start_date", text, End::Start).unwrap_err();
            assert!(error.to_string().starts_with("start_date: "), "{text}");
        }
        assert!(parse("end_date", "9999-12-31", End::Last).is_err());
    }
}
