//! One file of the spool: lines appended by one relay, sent from its start; and beside it how far they are sent.
//!
//! `<id>.ndjson` is locked (flock) by the relay that writes or drains it. `<id>.sent` holds the range of the last batch:
//! below `start` everything is accepted, `start..end` was posted and its answer may be lost, so exactly that range is posted
//! again with the same `Idempotency-Key`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

/// Ending of a segment's name.
pub(crate) const SEGMENT: &str = "ndjson";
const SENT: &str = "sent";
/// Ending of a segment that is not locked yet, so that no other relay takes it for an orphan.
const NEW: &str = "new";

/// A segment and its length, shared between the thread that appends and the task that sends.
#[derive(Debug)]
pub(crate) struct Segment {
    /// UUIDv7: names sort by age, and batches are named after it.
    pub(crate) id: Uuid,
    path: PathBuf,
    file: File,
    sent: File,
    written: AtomicU64,
    accepted: AtomicU64,
    synced: AtomicU64,
    closed: AtomicBool,
}

/// A part of a segment that is posted as one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// First byte.
    pub(crate) start: u64,
    /// Byte after the last.
    pub(crate) end: u64,
}

impl Segment {
    /// Makes an empty segment, locked.
    pub(crate) fn create(directory: &Path) -> io::Result<Self> {
        let id = Uuid::now_v7();
        let unlocked = directory.join(format!("{id}.{NEW}"));
        let path = directory.join(format!("{id}.{SEGMENT}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&unlocked)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let sent = open_sent(&path)?;
        std::fs::rename(&unlocked, &path)?;
        File::open(directory)?.sync_all()?;
        Ok(Self::new(id, path, file, sent, 0))
    }

    /// Takes over a segment that no running relay holds; `None` if one does, or if it is gone.
    pub(crate) fn adopt(path: &Path) -> io::Result<Option<Self>> {
        let Some(id) = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()) else {
            return Ok(None);
        };
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || file.metadata()?.nlink() == 0 {
            return Ok(None);
        }
        let length = whole_lines(&file)?;
        let sent = open_sent(path)?;
        let segment = Self::new(id, path.to_owned(), file, sent, length);
        segment.accepted.store(segment.last_batch().start, Ordering::Release);
        segment.close();
        Ok(Some(segment))
    }

    fn new(id: Uuid, path: PathBuf, file: File, sent: File, length: u64) -> Self {
        let zero = || AtomicU64::new(0);
        let closed = AtomicBool::new(false);
        Self { id, path, file, sent, written: AtomicU64::new(length), accepted: zero(), synced: zero(), closed }
    }

    /// Appends whole lines. On an error nothing of them stays.
    pub(crate) fn append(&self, lines: &[u8]) -> io::Result<u64> {
        let start = self.written();
        if let Err(error) = self.file.write_all_at(lines, start) {
            // What was written of it must not be sent: the sender was told that it was refused.
            self.file.set_len(start)?;
            return Err(error);
        }
        let end = start + lines.len() as u64;
        self.written.store(end, Ordering::Release);
        Ok(end)
    }

    /// Bytes of whole lines.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// No further line comes.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether a further line may come.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Everything below is accepted by the ingestor.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Acquire)
    }

    /// Makes what waits survive a loss of power.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let written = self.written();
        if written > self.accepted() && written > self.synced.load(Ordering::Acquire) {
            self.file.sync_data()?;
            self.synced.store(written, Ordering::Release);
        }
        Ok(())
    }

    /// Bytes `range` of the file.
    pub(crate) fn read(&self, range: Range) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// The last batch that was begun; an empty range at 0 if none was or if the note is damaged (then lines are sent again).
    pub(crate) fn last_batch(&self) -> Range {
        let mut note = [0; 24];
        if self.sent.read_exact_at(&mut note, 0).is_err() {
            return Range::default();
        }
        let word = |at: usize| u64::from_le_bytes(note[at..at + 8].try_into().unwrap_or_default());
        let range = Range { start: word(0), end: word(8) };
        let good = word(16) == check(range) && range.start <= range.end && range.end <= self.written();
        if good { range } else { Range::default() }
    }

    /// Notes that everything below `range.start` is accepted and that `range` is being posted.
    pub(crate) fn note_batch(&self, range: Range) -> io::Result<()> {
        self.accepted.store(range.start, Ordering::Release);
        let mut note = [0; 24];
        note[..8].copy_from_slice(&range.start.to_le_bytes());
        note[8..16].copy_from_slice(&range.end.to_le_bytes());
        note[16..].copy_from_slice(&check(range).to_le_bytes());
        self.sent.write_all_at(&note, 0)
    }

    /// Deletes the segment: all its lines are accepted.
    pub(crate) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)?;
        std::fs::remove_file(self.path.with_extension(SENT))
    }
}

fn open_sent(segment: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(segment.with_extension(SENT))
}

/// A note that was torn by a loss of power does not pass this.
fn check(range: Range) -> u64 {
    range.start.rotate_left(17) ^ range.end.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6d75_7474
}

/// Length up to the last line feed. What follows is a line whose writer died before it confirmed it: rsyslog sends it again.
fn whole_lines(file: &File) -> io::Result<u64> {
    const STEP: u64 = 64 * 1024;
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut bytes = vec![0; (end - start) as usize];
        file.read_exact_at(&mut bytes, start)?;
        if let Some(at) = memchr::memrchr(b'\n', &bytes) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn path(segment: &Segment) -> PathBuf {
        segment.path.clone()
    }

    #[test]
    fn a_segment_of_a_running_relay_cannot_be_adopted() {
        let directory = tempfile::tempdir().unwrap();
        let segment = Segment::create(directory.path()).unwrap();
        segment.append(b"a\n").unwrap();
        assert!(Segment::adopt(&path(&segment)).unwrap().is_none());
    }

    #[test]
    fn an_orphan_is_adopted_with_its_last_batch_and_without_its_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let segment = Segment::create(directory.path()).unwrap();
        segment.append(b"a\nbb\n").unwrap();
        segment.note_batch(Range { start: 2, end: 5 }).unwrap();
        segment.append(b"torn").unwrap();
        let path = path(&segment);
        drop(segment);
        let segment = Segment::adopt(&path).unwrap().unwrap();
        assert_eq!(segment.written(), 5);
        assert_eq!(segment.last_batch(), Range { start: 2, end: 5 });
        assert_eq!(segment.read(Range { start: 2, end: 5 }).unwrap(), b"bb\n");
        segment.remove().unwrap();
        assert!(Segment::adopt(&path).unwrap().is_none());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_note_means_from_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let segment = Segment::create(directory.path()).unwrap();
        segment.append(b"abcdef\n").unwrap();
        segment.note_batch(Range { start: 1, end: 4 }).unwrap();
        segment.sent.write_all_at(&[9], 3).unwrap();
        assert_eq!(segment.last_batch(), Range::default());
    }
}
