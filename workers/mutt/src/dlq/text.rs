//! Dead letters as text for people. Pure.

use std::fmt::Write as _;

use mutt_queue::dlq::{Counts, Dlq, Letter};

/// Columns that a letter's explanation may fill in a list; `show` gives all of it.
const DETAIL_MAX: usize = 60;

/// How many letters each DLQ holds.
pub(super) fn depths(depths: &[(Dlq, u64)]) -> String {
    let rows: Vec<[String; 2]> = depths.iter().map(|(dlq, depth)| [dlq.name().to_owned(), depth.to_string()]).collect();
    table(["dlq", "letters"], &rows)
}

/// One line per letter.
pub(super) fn letters(letters: &[Letter]) -> String {
    if letters.is_empty() {
        return "no dead letters".to_owned();
    }
    let rows: Vec<[String; 7]> = letters
        .iter()
        .map(|letter| {
            [
                letter.position.to_string(),
                letter.dead_lettered_at.clone(),
                letter.reason.clone(),
                letter.attempts.to_string(),
                letter.host.clone(),
                letter.event_id.clone(),
                shortened(&letter.detail),
            ]
        })
        .collect();
    table(["#", "since", "reason", "tries", "host", "event id", "detail"], &rows)
}

/// Everything about one letter; `body` is the event or alert.
pub(super) fn letter(letter: &Letter, body: &str) -> String {
    let mut text = String::new();
    let number = |count: u64| count.to_string();
    for (name, value) in [
        ("position", number(letter.position)),
        ("kind", letter.kind.key().to_owned()),
        ("since", letter.dead_lettered_at.clone()),
        ("reason", letter.reason.clone()),
        ("detail", letter.detail.clone()),
        ("tries", number(letter.attempts)),
        ("replays", number(letter.replays)),
        ("host", letter.host.clone()),
        ("event id", letter.event_id.clone()),
        ("correlation id", letter.correlation_id.clone()),
    ] {
        let _ = writeln!(text, "{name:<16}{}", printable(&value));
    }
    text.push('\n');
    text.push_str(body);
    text
}

/// What a walk did.
pub(super) fn counts(dlq: Dlq, counts: &Counts, dry_run: bool) -> String {
    if dry_run {
        return format!("dlq {}: {} of {} letters would be taken", dlq.name(), counts.matched, counts.seen);
    }
    let mut text = format!("dlq {}: ", dlq.name());
    let parts = [
        (counts.replayed, "replayed"),
        (counts.purged, "purged"),
        (counts.dead, "moved to dlq dead (replayed three times in vain, or no JSON object)"),
        (counts.hopeless, "left, since they can never be processed"),
    ];
    let said: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    text.push_str(if said.is_empty() { "nothing to do" } else { "" });
    text.push_str(&said.join(", "));
    text
}

/// Left-aligned columns, two spaces apart.
fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(str::len);
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head.map(str::to_owned)).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= DETAIL_MAX {
        return text.to_owned();
    }
    text.chars().take(DETAIL_MAX - 1).chain(['…']).collect()
}

/// What devices and receivers wrote must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mutt_queue::envelope::Kind;

    fn one() -> Letter {
        Letter {
            position: 3,
            kind: Kind::Alert,
            reason: "http".into(),
            detail: format!("500 \u{1b}[31m{}", "x".repeat(80)),
            attempts: 6,
            replays: 1,
            dead_lettered_at: "2026-01-02T03:04:05Z".into(),
            host: "sw1".into(),
            event_id: "e".into(),
            correlation_id: "c".into(),
            raw: Vec::new(),
        }
    }

    #[test]
    fn lists_are_aligned_short_and_harmless() {
        let text = letters(&[one()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].find("reason"), lines[1].find("http"));
        assert!(lines[1].ends_with('…') && !text.contains('\u{1b}'), "{text}");
        assert_eq!(letters(&[]), "no dead letters");
    }

    #[test]
    fn a_letter_is_shown_whole() {
        let text = letter(&one(), "{}");
        assert!(text.contains(&"x".repeat(80)) && text.ends_with("\n{}"), "{text}");
    }

    #[test]
    fn results_say_what_happened() {
        let done = Counts { seen: 5, matched: 4, replayed: 3, dead: 1, ..Counts::default() };
        assert!(counts(Dlq::Moog, &done, false).starts_with("dlq moog: 3 replayed, 1 moved to dlq dead"));
        assert_eq!(counts(Dlq::Moog, &done, true), "dlq moog: 4 of 5 letters would be taken");
        assert_eq!(counts(Dlq::Dead, &Counts::default(), false), "dlq dead: nothing to do");
    }
}
