//! Reads a log while it is written, from one segment into the next.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::seal::Statement;
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
    /// How far it had come in a segment that is read again.
    reached: u64,
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
            reached: 0,
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

    /// How many segments were gone, all of them or a part, before they were read.
    pub fn lost_segments(&self) -> u64 {
        self.lost
    }

    /// How many bytes are still to be read; 0 where that cannot be told.
    pub fn behind(&self) -> u64 {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let numbers = self.segments.numbers().unwrap_or_default();
        let later = numbers
            .iter()
            .filter(|number| **number > self.place.segment);
        let later: u64 = later
            .map(|number| length(&self.segments.full(*number)))
            .sum();
        let active = length(self.segments.active());
        let is_full = numbers.contains(&self.place.segment);
        // What is read may not be where it was, and have another in its place.
        let here = match &self.from {
            Some(from) => from.get_ref().metadata().map_or(0, |found| found.len()),
            None if is_full => length(&self.segments.full(self.place.segment)),
            None => active,
        };
        let next = if is_full { active } else { 0 };
        here.saturating_sub(self.place.bytes) + later + next
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
            let reached = self.place.bytes + self.begun.len() as u64;
            if from.get_ref().metadata()?.len() < reached {
                from.rewind()?;
                self.read_again();
            } else if self.full {
                self.miss_the_rest();
                self.from = None;
                self.begun.clear();
                self.reached = 0;
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
            self.reached = 0;
        } else if file.metadata()?.len() < self.place.bytes {
            self.read_again();
        }
        file.seek(SeekFrom::Start(self.place.bytes))?;
        self.from = Some(BufReader::new(file));
        Ok(true)
    }

    /// The file was cut: it may have more lines where others were.
    fn read_again(&mut self) {
        tracing::error!(
            segment = self.place.segment,
            "a segment of the audit log is shorter than what was read of it; it is read again"
        );
        self.reached = self.reached.max(self.place.bytes);
        self.place.bytes = 0;
        self.begun.clear();
    }

    /// Counts a segment of which the end is gone. Its seal is believed here: it only tells what to alert about.
    fn miss_the_rest(&mut self) {
        let seal = self.segments.read_seal(self.place.segment);
        let seal = seal.ok().flatten();
        let sealed = seal.and_then(|seal| Statement::unverified(&seal));
        if sealed.is_some_and(|sealed| sealed.bytes > self.place.bytes.max(self.reached)) {
            self.lost += 1;
            tracing::error!(
                segment = self.place.segment,
                "lines of the audit log were removed before they were read"
            );
        }
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

    /// Reads on; how many lines there are.
    fn drain(follower: &mut Follower) -> usize {
        std::iter::from_fn(|| follower.advance().unwrap()).count()
    }

    #[test]
    fn a_file_that_is_moved_is_read_to_its_end_and_then_the_next() {
        let mut log = Log::new();
        log.write(2).seal();
        let active = log.folder.path().join("audit.jsonl");
        let mut follower = Follower::at(Segments::of(&active), Place::default());
        assert!(follower.advance().unwrap().is_some());
        let place = follower.place();
        std::fs::rename(&active, log.folder.path().join("away")).unwrap();
        log.write(1);
        assert!(follower.behind() > place.bytes, "what is left of it");
        log.replace_lost().write(2);
        assert_eq!(drain(&mut follower), 4);
        assert_eq!((follower.behind(), follower.lost_segments()), (0, 0));
        let end = follower.place();
        assert_eq!(end.segment, 2);
        // Who did not have it open cannot read it, and says so; who had read all of it has lost nothing.
        let all = Place {
            bytes: std::fs::metadata(log.folder.path().join("away"))
                .unwrap()
                .len(),
            ..place
        };
        for (from, lost) in [(place, 1), (all, 0), (end, 0)] {
            let mut again = Follower::at(Segments::of(&active), from);
            assert_eq!(drain(&mut again), if from == end { 0 } else { 2 });
            assert_eq!((again.behind(), again.lost_segments()), (0, lost));
        }
    }

    #[test]
    fn a_file_that_is_cut_is_read_again_and_counted() {
        let mut log = Log::new();
        log.write(3).seal();
        let active = log.folder.path().join("audit.jsonl");
        let mut follower = Follower::at(Segments::of(&active), Place::default());
        assert!(follower.advance().unwrap().is_some());
        assert_eq!(drain(&mut follower), 2);
        std::fs::write(&active, "").unwrap();
        log.write(1); // behind the cut, before it is noticed
        assert_eq!(drain(&mut follower), 1);
        log.replace_lost().write(2);
        assert_eq!(drain(&mut follower), 2);
        assert_eq!((follower.behind(), follower.lost_segments()), (0, 1));
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
