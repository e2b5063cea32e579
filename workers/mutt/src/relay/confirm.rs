//! omprog's protocol: a line on stdin, one line of answer on stdout.
//!
//! At start the relay says `OK` once it can take lines. Then each line is answered: `OK` = in the spool, anything else = rsyslog
//! keeps the message and sends it again after `action.resumeInterval`. With `useTransactions="on"` the marks are answered too,
//! and COMMIT waits for the disk.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use super::event::received;
use super::spool::{Spool, SpoolError};

/// How long a line may wait for space: well below omprog's `confirmTimeout` of 10 s, after which it restarts the relay.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// A longer line is cut: far above rsyslog's largest message (`maxMessageSize`, 8 KiB by default).
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
const BEGIN: &[u8] = b"BEGIN TRANSACTION";
const COMMIT: &[u8] = b"COMMIT TRANSACTION";

/// Takes lines until the end of `input`. An error is one of `input` or `output`, never one of the spool.
pub(crate) fn confirm(
    mut input: impl BufRead,
    mut output: impl Write,
    spool: &Spool,
    collector: &str,
    patience: Duration,
) -> io::Result<()> {
    answer(&mut output, b"OK\n")?;
    let mut lines =
        Lines { spool, collector, patience, pending: Vec::new(), spooled: Vec::new(), count: 0, answers: Vec::new() };
    loop {
        let bytes = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            filled => filled?,
        };
        let length = bytes.len();
        if length == 0 {
            lines.end_of_input();
            return answer(&mut output, &lines.take_answers());
        }
        lines.take(bytes);
        input.consume(length);
        answer(&mut output, &lines.take_answers())?;
    }
}

fn answer(output: &mut impl Write, answers: &[u8]) -> io::Result<()> {
    output.write_all(answers)?;
    output.flush()
}

/// Lines that came with one read; rsyslog sends one at a time, a file many.
struct Lines<'a> {
    spool: &'a Spool,
    collector: &'a str,
    patience: Duration,
    /// Begin of a line whose end has not come.
    pending: Vec<u8>,
    /// Lines to append, and how many answers depend on it.
    spooled: Vec<u8>,
    count: usize,
    answers: Vec<u8>,
}

impl Lines<'_> {
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.extend_pending(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.pending);
            self.line(&line);
            self.pending = line;
            self.pending.clear();
        }
        self.extend_pending(bytes);
        self.append();
    }

    fn end_of_input(&mut self) {
        let line = std::mem::take(&mut self.pending);
        if !line.is_empty() {
            self.line(&line);
        }
        self.append();
    }

    fn extend_pending(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.pending.len();
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, line: &[u8]) {
        match line.trim_ascii_end() {
            b"" | BEGIN => {
                self.append();
                self.answers.extend_from_slice(b"OK\n");
            }
            COMMIT => {
                self.append();
                let synced = self.spool.sync();
                self.confirm(1, synced);
            }
            line => {
                self.spooled.extend_from_slice(&received(line, self.collector));
                self.spooled.push(b'\n');
                self.count += 1;
            }
        }
    }

    /// Appends what came and answers it.
    fn append(&mut self) {
        if self.count == 0 {
            return;
        }
        let appended = self.spool.append(&self.spooled, self.patience);
        self.spooled.clear();
        let count = std::mem::take(&mut self.count);
        self.confirm(count, appended);
    }

    fn confirm(&mut self, count: usize, result: Result<(), SpoolError>) {
        let text = match result {
            Ok(()) => "OK".to_owned(),
            Err(error) => {
                tracing::error!(%error, lines = count, "lines refused; rsyslog keeps them");
                error.to_string().replace('\n', " ")
            }
        };
        for _ in 0..count {
            self.answers.extend_from_slice(text.as_bytes());
            self.answers.push(b'\n');
        }
    }

    fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::segment::Range;
    use super::*;

    fn run(input: &[u8], limit: u64) -> (String, String) {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), limit).unwrap();
        let mut output = Vec::new();
        confirm(io::BufReader::with_capacity(8, input), &mut output, &spool, "c", Duration::ZERO).unwrap();
        let segment = spool.front().unwrap();
        let kept = segment.read(Range { start: 0, end: segment.written() }).unwrap();
        (String::from_utf8(output).unwrap(), String::from_utf8(kept).unwrap())
    }

    #[test]
    fn every_line_is_kept_and_answered_after_the_greeting() {
        let (answers, kept) = run(b"{\"a\":1}\n{\"a\":\"a line longer than the buffer\"}\n{\"b\":2}", 1000);
        assert_eq!(answers, "OK\nOK\nOK\nOK\n");
        assert_eq!(kept, "{\"a\":1}\n{\"a\":\"a line longer than the buffer\"}\n{\"b\":2}\n");
    }

    #[test]
    fn transaction_marks_and_empty_lines_are_answered_but_are_no_events() {
        let (answers, kept) = run(b"BEGIN TRANSACTION\n{}\n\nCOMMIT TRANSACTION\n", 1000);
        assert_eq!(answers, "OK\nOK\nOK\nOK\nOK\n");
        assert_eq!(kept, "{}\n");
    }

    #[test]
    fn plain_text_becomes_an_event() {
        let (answers, kept) = run(b"hello\n", 1000);
        assert_eq!(answers, "OK\nOK\n");
        assert!(kept.contains("\"message\":\"hello\"") && kept.contains("\"hostname\":\"c\""), "{kept}");
    }

    #[test]
    fn a_line_that_finds_no_space_is_refused_in_one_line() {
        let (answers, kept) = run(b"{\"a\":1}\n{\"a\":2}\n", 8);
        assert_eq!(answers, "OK\nOK\nspool is full: 8 of 8 bytes wait for the ingestor\n");
        assert_eq!(kept, "{\"a\":1}\n");
    }
}
