//! Lines of a file or of standard input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::worker::Fatal;

/// Longer lines are cut there: the ingestor takes messages up to 1 MiB, and input without newlines must end somewhere.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// Bytes of a request, about; well below what an ingestor takes by default (16 MiB).
const REQUEST_BYTES: usize = 4 << 20;

/// Lines with their numbers.
pub(super) struct Input {
    reader: BufReader<Box<dyn Read + Send>>,
    number: u64,
    bytes_read: u64,
    bytes_total: Option<u64>,
}

impl Input {
    /// Opens a file, or standard input for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, Fatal> {
        if path.as_os_str() == "-" {
            return Ok(Self::new(Box::new(io::stdin()), None));
        }
        let failed = |error| Fatal::failed(format!("cannot open {}", path.display()), error);
        let file = File::open(path).map_err(failed)?;
        let bytes_total = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
        Ok(Self::new(Box::new(file), bytes_total))
    }

    pub(super) fn new(reader: Box<dyn Read + Send>, bytes_total: Option<u64>) -> Self {
        Self { reader: BufReader::with_capacity(256 * 1024, reader), number: 0, bytes_read: 0, bytes_total }
    }

    /// The next line that is not blank, without its end.
    pub(super) fn next_line(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let mut line = Vec::new();
            let read = self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            self.bytes_read += read as u64;
            self.number += 1;
            let trimmed = line.trim_ascii_end().len();
            line.truncate(trimmed);
            if !line.trim_ascii().is_empty() {
                return Ok(Some((self.number, line)));
            }
        }
    }

    /// The next lines, at most `lines_max`, none at the end. Of a pipe only what is there, so that nothing waits for
    /// company.
    pub(super) fn next_lines(&mut self, lines_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < lines_max && bytes < REQUEST_BYTES {
            let Some((number, line)) = self.next_line()? else { break };
            bytes += line.len();
            lines.push((number, line));
            if self.bytes_total.is_none() && memchr::memchr(b'\n', self.reader.buffer()).is_none() {
                break;
            }
        }
        Ok(lines)
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    pub(super) fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }
}
