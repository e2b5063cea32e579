//! Pages of the log searches: by number, or by a cursor that stays right while new rows come in.

use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::input::Params;
use super::time::Micros;

/// Most rows of a page.
pub(crate) const LIMIT_MAX: i64 = 200;
/// Furthest page by number; PostgreSQL reads and throws away all rows before it. A cursor has no such limit.
const PAGE_MAX: i64 = 1_000_000;

/// Where a row stands: newest first, ties by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The row's time.
    pub(crate) time: Micros,
    /// The row's id.
    pub(crate) id: i64,
}

impl Cursor {
    pub(crate) fn text(self) -> String {
        format!("{}.{}", self.time, self.id)
    }

    fn parse(text: &str) -> Option<Self> {
        let (time, id) = text.split_once('.')?;
        let cursor = Self { time: time.parse().ok()?, id: id.parse().ok()? };
        // One spelling each, and a time PostgreSQL can represent.
        let year_10000 = 253_402_300_800_000_000;
        (cursor.text() == text && cursor.time.abs() < year_10000).then_some(cursor)
    }
}

/// Which part of the result is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The page of this number, from 1.
    Page(i64),
    /// What follows this row.
    After(Cursor),
}

/// A page: where it starts and how many rows it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) start: Start,
    /// Rows, 1 to [`LIMIT_MAX`].
    pub(crate) limit: i64,
}

impl Page {
    /// Reads `page`, `limit` and `cursor`.
    pub(crate) fn read(params: &Params, limit_default: i64) -> Result<Self, ApiError> {
        let limit = params.integer("limit", 1..=LIMIT_MAX)?;
        let page = params.integer("page", 1..=PAGE_MAX)?;
        let start = match params.get("cursor")? {
            None => Start::Page(page.unwrap_or(1)),
            Some(_) if page.is_some() => {
                return Err(ApiError::field("page", "must not be given with a cursor"));
            }
            Some(text) => Start::After(
                Cursor::parse(text)
                    .ok_or_else(|| ApiError::field("cursor", "must be a next_cursor of an earlier answer"))?,
            ),
        };
        Ok(Self { start, limit: limit.unwrap_or(limit_default.clamp(1, LIMIT_MAX)) })
    }

    /// Rows to pass over.
    pub(crate) fn offset(&self) -> i64 {
        match self.start {
            Start::Page(page) => (page - 1) * self.limit,
            Start::After(_) => 0,
        }
    }

    /// The row to continue after.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        match self.start {
            Start::Page(_) => None,
            Start::After(cursor) => Some(cursor),
        }
    }
}

/// Where the answer stands in the whole result.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pagination {
    /// Number of this page, from 1; null when a cursor was used.
    pub(crate) page: Option<i64>,
    /// Rows of a page.
    pub(crate) limit: i64,
    /// Rows of the whole result; null when a cursor was used.
    pub(crate) total: Option<i64>,
    /// Pages of the whole result; null when a cursor was used.
    pub(crate) pages: Option<i64>,
    /// True if `total` is PostgreSQL's estimate, since counting would take too long.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) total_is_estimate: bool,
    /// What to send as `cursor` for the rows that follow; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// How many rows a search has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Total {
    /// Counted.
    Exact(i64),
    /// At least so many; more were not counted.
    Estimate(i64),
}

impl Pagination {
    /// The answer's place, given the rows found and the last row's place.
    pub(crate) fn new(page: &Page, total: Option<Total>, last: Option<Cursor>, more: bool) -> Self {
        let count = total.map(|total| match total {
            Total::Exact(count) | Total::Estimate(count) => count,
        });
        Self {
            page: match page.start {
                Start::Page(number) => Some(number),
                Start::After(_) => None,
            },
            limit: page.limit,
            total: count,
            pages: count.map(|count| (count + page.limit - 1) / page.limit),
            total_is_estimate: matches!(total, Some(Total::Estimate(_))),
            next_cursor: last.filter(|_| more).map(Cursor::text),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_and_nothing_else_is_one() {
        for cursor in [Cursor { time: 0, id: 0 }, Cursor { time: -5, id: i64::MAX }] {
            assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
        }
        for text in [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "a.b",
            "+1.2",
            "01.2",
            "1.2.3",
            "99999999999999999999.1",
            "9223372036854775807.1",
            "1.1' OR 1=1",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }

    #[test]
    fn pages_round_up() {
        let page = Page { start: Start::Page(2), limit: 50 };
        let answer = Pagination::new(&page, Some(Total::Exact(101)), None, false);
        assert_eq!((answer.pages, answer.total, page.offset()), (Some(3), Some(101), 50));
    }
}
