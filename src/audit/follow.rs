//! Reads a log while it is written, from one segment into the next.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};

use super::segments::Segments;
use crate::limits;

/// Where somebody reads who wants everything from now on.
#[derive(Debug)]
pub struct Follower {
    segments: Segments,
    /// The segment that is read.
    number: u64,
    from: BufReader<File>,
    /// What there is of a line that has no end yet.
    begun: Vec<u8>,
    /// The segment is full, so that nothing more comes in it.
    full: bool,
}

impl Follower {
    /// From the end of the file that is written.
    pub fn from_end(segments: Segments) -> io::Result<Self> {
        loop {
            let number = segments.numbers()?.pop().map_or(1, |last| last + 1);
            let mut file = File::open(segments.active())?;
            if segments.full(number).try_exists()? {
                continue; // it became full a moment ago
            }
            file.seek(SeekFrom::End(0))?;
            return Ok(Self {
                segments,
                number,
                from: BufReader::new(file),
                begun: Vec::new(),
                full: false,
            });
        }
    }

    /// The next line, if there is one yet.
    pub fn advance(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let room = limits::AUDIT_LINE_BYTES_MAX.saturating_sub(self.begun.len() as u64);
            let read = (&mut self.from)
                .take(room)
                .read_until(b'\n', &mut self.begun)?;
            if self.begun.ends_with(b"\n") {
                return Ok(Some(std::mem::take(&mut self.begun)));
            }
            if room == 0 {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "a line without an end",
                ));
            }
            if read > 0 {
                continue;
            }
            if !self.full {
                self.full = self.segments.full(self.number).try_exists()?;
                if !self.full {
                    return Ok(None);
                }
                continue; // for what was written before it became full
            }
            let next = self.segments.full(self.number + 1);
            let file = match File::open(next) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    match File::open(self.segments.active()) {
                        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                        file => file?,
                    }
                }
                file => file?,
            };
            self.from = BufReader::new(file);
            self.begun.clear();
            self.number += 1;
            self.full = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::tests::Log;
    use super::*;

    #[test]
    fn nothing_is_missed_from_one_segment_to_the_next() {
        let mut log = Log::new();
        log.write(2);
        let segments = Segments::of(&log.folder.path().join("audit.jsonl"));
        let mut follower = Follower::from_end(segments).unwrap();
        assert!(follower.advance().unwrap().is_none());
        log.write(1);
        let mut next = || {
            let line = follower.advance().unwrap()?;
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            value["n"].as_u64()
        };
        assert_eq!((next(), next()), (Some(3), None));
        log.write(1).rotate().write(1).rotate().rotate().write(1);
        assert_eq!(
            (next(), next(), next(), next()),
            (Some(4), Some(5), Some(6), None)
        );
        log.write(1).rotate();
        assert_eq!((next(), next()), (Some(7), None));
    }
}
