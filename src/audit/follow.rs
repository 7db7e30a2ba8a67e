//! Reads a log while it is written, from one segment into the next.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::segments::Segments;
use crate::limits;

/// A place in a log: behind so many bytes of a segment. In segment 0: before everything that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The segment's number.
    pub segment: u64,
    /// Its bytes before the place, whole lines all of them.
    pub bytes: u64,
}

/// Reads on from a place.
#[derive(Debug)]
pub struct Follower {
    segments: Segments,
    /// Behind the last line that was read.
    place: Place,
    from: Option<BufReader<File>>,
    /// What there is of a line that has no end yet.
    begun: Vec<u8>,
    /// The segment is full, so that nothing more comes in it.
    full: bool,
    lost: u64,
}

impl Follower {
    /// From a place that was reached before.
    pub fn at(segments: Segments, place: Place) -> Self {
        Self {
            segments,
            place,
            from: None,
            begun: Vec::new(),
            full: false,
            lost: 0,
        }
    }

    /// From the end of the file that is written.
    pub fn from_end(segments: Segments) -> io::Result<Self> {
        let segment = segments.active_number()?;
        let bytes = File::open(segments.active())?.metadata()?.len();
        Ok(Self::at(segments, Place { segment, bytes }))
    }

    /// Behind the last line that was read.
    pub fn place(&self) -> Place {
        self.place
    }

    /// How many segments were gone before they were read.
    pub fn lost_segments(&self) -> u64 {
        self.lost
    }

    /// How many bytes are still to be read; 0 where that cannot be told.
    pub fn behind(&self) -> u64 {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let numbers = self.segments.numbers().unwrap_or_default();
        let later = numbers
            .iter()
            .filter(|number| **number >= self.place.segment);
        let full: u64 = later
            .map(|number| length(&self.segments.full(*number)))
            .sum();
        (full + length(self.segments.active())).saturating_sub(self.place.bytes)
    }

    /// The next line, if there is one yet.
    pub fn advance(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(from) = &mut self.from else {
                if self.open()? {
                    continue;
                }
                return Ok(None);
            };
            let room = limits::AUDIT_LINE_BYTES_MAX.saturating_sub(self.begun.len() as u64);
            let read = from.take(room).read_until(b'\n', &mut self.begun)?;
            if self.begun.ends_with(b"\n") {
                self.place.bytes += self.begun.len() as u64;
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
            if self.full {
                self.from = None;
                self.begun.clear();
                self.place = Place {
                    segment: self.place.segment + 1,
                    bytes: 0,
                };
            } else {
                self.full = self.segments.full(self.place.segment).try_exists()?;
                if !self.full {
                    return Ok(None);
                }
                // Once more, for what was written before it became full.
            }
        }
    }

    /// Opens the file that the place is in, or the next one that there is.
    fn open(&mut self) -> io::Result<bool> {
        let numbers = self.segments.numbers()?;
        let active = self.segments.active_number()?;
        let oldest = numbers.first().copied().unwrap_or(active);
        let wanted = self.place.segment;
        let found = numbers.iter().copied().find(|number| *number >= wanted);
        let segment = match found {
            _ if wanted == 0 || wanted > active => oldest,
            Some(found) => found,
            None => active,
        };
        self.full = numbers.contains(&segment);
        let path = if self.full {
            self.segments.full(segment)
        } else {
            self.segments.active().to_owned()
        };
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        if !self.full && self.segments.full(segment).try_exists()? {
            return self.open(); // it became full a moment ago
        }
        if segment != wanted {
            self.missing(segment);
            self.place = Place { segment, bytes: 0 };
        } else if file.metadata()?.len() < self.place.bytes {
            tracing::error!(
                segment,
                "a segment of the audit log is shorter than what was read of it; it is read again"
            );
            self.place.bytes = 0;
        }
        file.seek(SeekFrom::Start(self.place.bytes))?;
        self.from = Some(BufReader::new(file));
        Ok(true)
    }

    /// Counts what is gone.
    fn missing(&mut self, segment: u64) {
        let wanted = self.place.segment;
        if wanted == 0 {
            return; // the beginning is wherever the log begins
        }
        self.lost += segment.saturating_sub(wanted).max(1);
        tracing::error!(
            wanted,
            found = segment,
            "segments of the audit log were removed before they were read"
        );
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

    #[test]
    fn a_place_is_come_back_to_and_what_is_gone_is_counted() {
        let mut log = Log::new();
        log.write(2)
            .rotate()
            .write(2)
            .rotate()
            .write(2)
            .rotate()
            .write(1);
        let folder = log.folder.path().to_owned();
        let segments = || Segments::of(&folder.join("audit.jsonl"));
        let mut follower = Follower::at(segments(), Place::default());
        let read = |follower: &mut Follower| follower.advance().unwrap().is_some();
        assert!(read(&mut follower) && read(&mut follower) && read(&mut follower));
        let place = follower.place();
        assert_eq!(place.segment, 2);
        let mut again = Follower::at(segments(), place);
        for _ in 0..4 {
            assert!(read(&mut again));
        }
        assert!(!read(&mut again) && again.behind() == 0 && again.lost_segments() == 0);
        let behind = follower.behind();
        assert!(behind > 0 && behind < 4 * 200, "{behind}");

        for number in [1, 2, 3] {
            std::fs::remove_file(segments().full(number)).unwrap();
        }
        let mut gone = Follower::at(segments(), place);
        assert!(read(&mut gone) && !read(&mut gone));
        assert_eq!(gone.lost_segments(), 2);
    }
}
