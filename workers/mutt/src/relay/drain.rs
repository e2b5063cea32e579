//! The spool's lines to the ingestor, oldest first, one batch at a time: a batch grows with the answer's latency, so a lone line
//! never waits and a storm goes in large batches.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::event::{event, plain};
use super::pace::Pace;
use super::post::{Answer, Poster};
use super::segment::{Range, Segment};
use super::spool::Spool;

/// How often segments of relays that died are looked for while nothing comes.
const ADOPT_EVERY: Duration = Duration::from_secs(5);
/// In the spool's directory: lines that the ingestor does not take in any form. Never sent again by itself.
const REFUSED: &str = "refused.lines";

/// Bounds of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    /// Most lines.
    pub(crate) lines: usize,
    /// Most bytes of lines; one larger line goes alone.
    pub(crate) bytes: usize,
}

/// Counts since the start, for the log.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Lines the ingestor has.
    pub(crate) accepted: AtomicU64,
    /// Of these: kept in its `dlq:ingest`.
    pub(crate) kept: AtomicU64,
    /// Lines in the file of refused ones.
    pub(crate) refused: AtomicU64,
}

/// Sends what is in the spool.
#[derive(Debug)]
pub(crate) struct Drain {
    /// Where the lines are.
    pub(crate) spool: Spool,
    /// How they are sent.
    pub(crate) poster: Poster,
    /// Bounds of a batch.
    pub(crate) limits: BatchLimits,
    /// Host name of events that name none.
    pub(crate) collector: String,
    /// The spool's directory.
    pub(crate) directory: PathBuf,
    /// What was done so far.
    pub(crate) counts: Arc<Counts>,
}

impl Drain {
    /// Sends until the spool is closed and empty. Being dropped at any point is safe: the last batch is sent again under its key.
    pub(crate) async fn run(&self) -> io::Result<()> {
        loop {
            let Some(segment) = self.spool.front() else {
                if self.spool.is_closed() {
                    return Ok(());
                }
                self.wait().await?;
                continue;
            };
            if segment.accepted() < segment.written() {
                self.send_batch(&segment).await?;
            } else if segment.is_closed() {
                self.spool.remove(&segment)?;
            } else {
                self.wait().await?;
            }
        }
    }

    async fn wait(&self) -> io::Result<()> {
        tokio::select! {
            () = self.spool.appended() => {}
            () = tokio::time::sleep(ADOPT_EVERY) => {
                let adopted = self.spool.adopt()?;
                if adopted > 0 {
                    tracing::info!(segments = adopted, "took over what a former relay left");
                }
            }
        }
        Ok(())
    }

    async fn send_batch(&self, segment: &Segment) -> io::Result<()> {
        let (range, bytes) = self.next_batch(segment)?;
        segment.note_batch(range)?;
        let lines = lines(&bytes, range.start);
        self.deliver(segment, &lines).await?;
        segment.note_batch(Range { start: range.end, end: range.end })?;
        self.spool.accepted(range.end - range.start);
        Ok(())
    }

    /// The batch that was begun, else the next one.
    fn next_batch(&self, segment: &Segment) -> io::Result<(Range, Vec<u8>)> {
        let start = segment.accepted();
        let begun = segment.last_batch();
        if begun.start == start && begun.end > start {
            return Ok((begun, segment.read(begun)?));
        }
        let written = segment.written();
        let mut size = self.limits.bytes as u64;
        loop {
            let range = Range { start, end: written.min(start + size) };
            let mut bytes = segment.read(range)?;
            let end = nth_line_end(&bytes, self.limits.lines);
            if end > 0 {
                bytes.truncate(end);
                return Ok((Range { start, end: start + end as u64 }, bytes));
            }
            // One line larger than a batch. `written` ends with a line feed, so this ends.
            size *= 2;
        }
    }

    /// Sends all lines, in halves where the ingestor does not take them together.
    async fn deliver(&self, segment: &Segment, lines: &[Line<'_>]) -> io::Result<()> {
        let mut parts = vec![lines];
        while let Some(part) = parts.pop() {
            let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
            let key = format!("{}-{}-{}", segment.id, first.start, last.end());
            let events: Vec<_> = part.iter().map(|line| event(line.text, &self.collector)).collect();
            match self.post(&events, &key).await {
                Ok(kept) => self.count(part.len(), kept),
                Err(_) if part.len() > 1 => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right, left]);
                }
                Err(why) => self.deliver_plain(first, &key, &why).await?,
            }
        }
        Ok(())
    }

    /// The last try for a line: as the message of a plain event. If that is refused too, it stays here on disk.
    async fn deliver_plain(&self, line: &Line<'_>, key: &str, why: &str) -> io::Result<()> {
        let event = plain(line.text, &self.collector);
        if let Ok(kept) = self.post(&[event], &format!("{key}-plain")).await {
            self.count(1, kept);
        } else {
            tracing::error!(why, file = REFUSED, "the ingestor does not take a line in any form; it is kept in a file");
            keep_refused(&self.directory, line.text)?;
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Posts until there is an answer that counts: items kept in `dlq:ingest`, or why the body is refused.
    async fn post(&self, events: &[impl AsRef<[u8]>], key: &str) -> Result<u64, String> {
        let mut pace = Pace::default();
        loop {
            let wait = match self.poster.post(events, key).await {
                Answer::Accepted { kept } => {
                    pace.recovered();
                    return Ok(kept);
                }
                Answer::Refused { why } => return Err(why),
                Answer::Later { why, wait } => pace.later(&why, wait),
                Answer::Denied { why } => pace.denied(&why),
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn count(&self, lines: usize, kept: u64) {
        self.counts.accepted.fetch_add(lines as u64, Ordering::Relaxed);
        if kept > 0 {
            tracing::warn!(kept, "the ingestor refused events and keeps them in its dead letters (dlq:ingest)");
            self.counts.kept.fetch_add(kept, Ordering::Relaxed);
        }
    }
}

/// A line without its line feed and its place in the segment.
#[derive(Clone, Copy)]
struct Line<'a> {
    start: u64,
    text: &'a [u8],
}

impl Line<'_> {
    fn end(&self) -> u64 {
        self.start + self.text.len() as u64 + 1
    }
}

/// The lines of `bytes` that say something. NUL bytes are what a file system leaves of a block it had not written.
fn lines(bytes: &[u8], offset: u64) -> Vec<Line<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        let text = &bytes[start..end];
        if text.iter().any(|byte| *byte != 0) {
            found.push(Line { start: offset + start as u64, text });
        }
        start = end + 1;
    }
    found
}

/// Length of the first `count` whole lines, or of all there are; 0 if there is none.
fn nth_line_end(bytes: &[u8], count: usize) -> usize {
    memchr::memchr_iter(b'\n', bytes).take(count).last().map_or(0, |at| at + 1)
}

fn keep_refused(directory: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(directory.join(REFUSED))?;
    file.write_all(&[line, b"\n"].concat())?;
    file.sync_data()
}
