//! The relay's journal on disk: a line is confirmed to rsyslog once it is in here, and leaves when the ingestor has it.
//!
//! Why: rsyslog counts a message as done with its `OK` (with `DEFER_COMMIT` too, rsyslog#2420, so a relay killed inside a
//! transaction loses what it held). A confirmed line is in a file before the answer, so that `kill -9` of the relay at any
//! moment loses none, and rsyslog's one-by-one confirmation does not wait for the network. A loss of power may take what came in
//! the last second, as with Redis' `appendfsync everysec`.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use uuid::Uuid;

use super::segment::{SEGMENT, Segment};

/// A segment is closed above this size: small enough that a drained one frees disk soon.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Why a line was not taken; rsyslog keeps it and sends it again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// The bound is reached: the ingestor is away for too long.
    #[error("spool is full: {bytes} of {limit} bytes wait for the ingestor")]
    Full {
        /// Bytes that wait.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The relay was told to stop.
    #[error("relay is stopping")]
    Closed,
    /// The disk refused.
    #[error("cannot write to the spool {path}: {source}")]
    Io {
        /// The spool's directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The spool, shared between the thread that appends and the task that drains.
#[derive(Clone, Debug)]
pub(crate) struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    limit: u64,
    /// Bytes that wait in the segments this process holds.
    waiting: AtomicU64,
    state: Mutex<State>,
    appended: Notify,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first. The last one may be open.
    segments: VecDeque<Arc<Segment>>,
    /// Segments that this process holds, so that it does not look at its own.
    held: HashSet<Uuid>,
    closed: bool,
}

impl Spool {
    /// Opens the directory (made if absent), takes over what former relays left and checks that it can be written to.
    pub(crate) fn open(directory: &Path, limit: u64) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::Io { path: directory.to_owned(), source };
        create_private(directory).map_err(failed)?;
        let spool = Self(Arc::new(Inner {
            directory: directory.to_owned(),
            limit,
            waiting: AtomicU64::new(0),
            state: Mutex::default(),
            appended: Notify::new(),
            drained: Condvar::new(),
        }));
        spool.adopt().map_err(failed)?;
        spool.open_segment(&mut spool.state()).map_err(failed)?;
        Ok(spool)
    }

    /// Takes over segments of relays that ended; says how many.
    pub(crate) fn adopt(&self) -> io::Result<usize> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(&self.0.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == SEGMENT) {
                paths.push(path);
            }
        }
        paths.sort_unstable_by(|a, b| b.cmp(a));
        let mut state = self.state();
        let mut count = 0;
        for path in paths {
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if id.is_none_or(|id: Uuid| state.held.contains(&id)) {
                continue;
            }
            if let Some(segment) = Segment::adopt(&path)? {
                let waiting = segment.written() - segment.accepted();
                self.0.waiting.fetch_add(waiting, Ordering::AcqRel);
                state.held.insert(segment.id);
                state.segments.push_front(Arc::new(segment));
                count += 1;
            }
        }
        Ok(count)
    }

    /// Appends whole lines, or refuses all of them. Waits up to `patience` for space.
    pub(crate) fn append(&self, lines: &[u8], patience: Duration) -> Result<(), SpoolError> {
        let mut state = self.space_for(lines.len() as u64, patience)?;
        let failed = |source| SpoolError::Io { path: self.0.directory.clone(), source };
        let segment = match state.segments.back() {
            Some(segment) if !segment.is_closed() => Arc::clone(segment),
            _ => self.open_segment(&mut state).map_err(failed)?,
        };
        let end = segment.append(lines).map_err(failed)?;
        if end >= SEGMENT_BYTES {
            segment.close();
        }
        self.0.waiting.fetch_add(lines.len() as u64, Ordering::AcqRel);
        drop(state);
        self.0.appended.notify_one();
        Ok(())
    }

    /// The oldest segment.
    pub(crate) fn front(&self) -> Option<Arc<Segment>> {
        self.state().segments.front().cloned()
    }

    /// Makes what waits survive a loss of power.
    pub(crate) fn sync(&self) -> Result<(), SpoolError> {
        let segments: Vec<Arc<Segment>> = self.state().segments.iter().cloned().collect();
        let synced = segments.iter().try_for_each(|segment| segment.sync());
        synced.map_err(|source| SpoolError::Io { path: self.0.directory.clone(), source })
    }

    /// Resolves when lines were appended since the last call.
    pub(crate) async fn appended(&self) {
        self.0.appended.notified().await;
    }

    /// `bytes` of the oldest segment are accepted.
    pub(crate) fn accepted(&self, bytes: u64) {
        self.0.waiting.fetch_sub(bytes, Ordering::AcqRel);
        self.0.drained.notify_all();
    }

    /// Bytes that wait for the ingestor.
    pub(crate) fn waiting(&self) -> u64 {
        self.0.waiting.load(Ordering::Acquire)
    }

    /// Forgets and deletes a segment that is closed and accepted as a whole.
    pub(crate) fn remove(&self, segment: &Segment) -> io::Result<()> {
        let mut state = self.state();
        state.segments.retain(|other| other.id != segment.id);
        segment.remove()?;
        state.held.remove(&segment.id);
        Ok(())
    }

    /// Takes no further line; those in it wait for the next relay if they are not sent.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for segment in &state.segments {
            segment.close();
        }
        drop(state);
        self.0.appended.notify_one();
    }

    /// Whether it takes no further line.
    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn space_for(&self, bytes: u64, patience: Duration) -> Result<MutexGuard<'_, State>, SpoolError> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        if state.closed {
            return Err(SpoolError::Closed);
        }
        // A line larger than the whole spool is taken when the spool is empty, else it would wait for ever.
        while self.waiting() > 0 && self.waiting() + bytes > self.0.limit {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SpoolError::Full { bytes: self.waiting(), limit: self.0.limit });
            }
            state = self.0.drained.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(state)
    }

    fn open_segment(&self, state: &mut State) -> io::Result<Arc<Segment>> {
        let segment = Arc::new(Segment::create(&self.0.directory)?);
        state.held.insert(segment.id);
        state.segments.push_back(Arc::clone(&segment));
        Ok(segment)
    }
}

/// Makes the directory readable for its owner only: events may hold anything.
fn create_private(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::super::segment::Range;
    use super::*;

    #[test]
    fn a_full_spool_refuses_until_something_is_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), 10).unwrap();
        spool.append(b"12345\n", Duration::ZERO).unwrap();
        assert!(matches!(spool.append(b"12345\n", Duration::ZERO), Err(SpoolError::Full { bytes: 6, limit: 10 })));
        spool.accepted(6);
        spool.append(b"a line larger than the spool\n", Duration::ZERO).unwrap();
    }

    #[test]
    fn a_waiting_append_goes_on_when_space_comes() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool::open(directory.path(), 10).unwrap();
        spool.append(b"12345\n", Duration::ZERO).unwrap();
        let other = spool.clone();
        let thread = std::thread::spawn(move || other.append(b"12345\n", Duration::from_mins(1)));
        spool.accepted(6);
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn a_second_relay_takes_over_what_the_first_left_oldest_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = Spool::open(directory.path(), 1000).unwrap();
        first.append(b"1\n", Duration::ZERO).unwrap();
        first.front().unwrap().close();
        first.append(b"2\n", Duration::ZERO).unwrap();
        let second = Spool::open(directory.path(), 1000).unwrap();
        assert_eq!(second.waiting(), 0);
        drop(first);
        assert_eq!(second.adopt().unwrap(), 2);
        assert_eq!(second.waiting(), 4);
        let front = second.front().unwrap();
        assert_eq!(front.read(Range { start: 0, end: 2 }).unwrap(), b"1\n");
        second.remove(&front).unwrap();
        assert_eq!(second.front().unwrap().read(Range { start: 0, end: 2 }).unwrap(), b"2\n");
    }
}
