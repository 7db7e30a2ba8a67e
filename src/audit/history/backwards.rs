//! Reads a log backwards from a place in it, in bounded pieces: what happened lately is at its end.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;

use crate::audit::commands::Seen;
use crate::audit::follow::Place;
use crate::audit::segments::{Got, Lines, Segments};
use crate::limits;

/// Bytes that are read at once. Most lines have less than 2 KiB.
const PIECE_BYTES: u64 = 256 * 1024;

/// The lines before a place, the last one first.
#[derive(Debug)]
pub(super) struct Backwards {
    segments: Segments,
    segment: u64,
    file: Option<File>,
    /// Bytes of the segment before those in the buffer.
    unread: u64,
    /// What was read and not handed out.
    buffer: Vec<u8>,
    /// Bytes that were read of files.
    pub(super) read: u64,
}

impl Backwards {
    /// From the end of what there is.
    pub(super) fn from_end(segments: Segments) -> io::Result<Self> {
        let segment = segments.active_number()?;
        let end = Place {
            segment,
            bytes: u64::MAX,
        };
        Self::from(segments, end)
    }

    /// From a place; from where the log ends, if that is before it.
    pub(super) fn from(segments: Segments, place: Place) -> io::Result<Self> {
        let file = open(&segments, place.segment)?;
        let length = match &file {
            Some(file) => file.metadata()?.len(),
            None => 0,
        };
        Ok(Self {
            segments,
            segment: place.segment,
            file,
            unread: place.bytes.min(length),
            buffer: Vec::new(),
            read: 0,
        })
    }

    /// Behind the line that comes next.
    pub(super) fn place(&self) -> Place {
        Place {
            segment: self.segment,
            bytes: self.unread + self.buffer.len() as u64,
        }
    }

    /// The next line, with its newline if it has one; nothing before the first of the log.
    pub(super) fn advance(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let inner = self.buffer.len().saturating_sub(1);
            let before = self.buffer.get(..inner).unwrap_or_default();
            if let Some(newline) = memchr::memrchr(b'\n', before) {
                return Ok(Some(self.buffer.split_off(newline + 1)));
            }
            if self.unread > 0 {
                self.fill()?;
            } else if !self.buffer.is_empty() {
                return Ok(Some(std::mem::take(&mut self.buffer)));
            } else if !self.go_back()? {
                return Ok(None);
            }
        }
    }

    /// Reads the piece before what is in the buffer.
    fn fill(&mut self) -> io::Result<()> {
        if self.buffer.len() as u64 > limits::AUDIT_LINE_BYTES_MAX {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "a line without a beginning",
            ));
        }
        let Some(file) = &self.file else {
            self.unread = 0;
            return Ok(());
        };
        let size = self.unread.min(PIECE_BYTES);
        let mut piece = vec![0; usize::try_from(size).unwrap_or_default()];
        file.read_exact_at(&mut piece, self.unread - size)?;
        self.unread -= size;
        self.read += size;
        piece.append(&mut self.buffer);
        self.buffer = piece;
        Ok(())
    }

    /// Goes to the end of the segment before, if there is one.
    fn go_back(&mut self) -> io::Result<bool> {
        let numbers = self.segments.numbers()?;
        let Some(before) = numbers.into_iter().rfind(|number| *number < self.segment) else {
            return Ok(false);
        };
        self.file = open(&self.segments, before)?;
        self.segment = before;
        self.unread = match &self.file {
            Some(file) => file.metadata()?.len(),
            None => 0, // it was moved away a moment ago
        };
        Ok(true)
    }
}

/// The file of a segment, full or being written; nothing if it is not there.
fn open(segments: &Segments, number: u64) -> io::Result<Option<File>> {
    let found = |file: io::Result<File>| match file {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    if let Some(full) = found(File::open(segments.full(number)))? {
        return Ok(Some(full));
    }
    if number != segments.active_number()? {
        return Ok(None);
    }
    let active = found(File::open(segments.active()))?;
    // It may have become full between the two, and another one be written now.
    match found(File::open(segments.full(number)))? {
        Some(full) => Ok(Some(full)),
        None => Ok(active),
    }
}

/// Around a time: what stands before the first place was written before it, what stands behind the second one was not.
/// Events are in the order in which they were written, which is that of their stages but for those of one moment.
pub(super) fn around(segments: &Segments, time: Timestamp) -> io::Result<(Place, Place)> {
    let mut numbers = segments.numbers()?;
    numbers.push(segments.active_number()?);
    let began_before = |number: &u64| {
        let file = open(segments, *number).ok().flatten();
        let first = file.and_then(|file| first_event(&file, 0, u64::MAX).ok()?);
        first.is_some_and(|(at, _)| at < time)
    };
    let after = numbers.partition_point(began_before);
    let segment = numbers.get(after.saturating_sub(1)).copied().unwrap_or(1);
    let place = |bytes| Place { segment, bytes };
    let Some(file) = open(segments, segment)? else {
        return Ok((place(0), place(0)));
    };
    let (mut low, mut high) = (0, file.metadata()?.len());
    while high.saturating_sub(low) > PIECE_BYTES {
        let middle = low + (high - low) / 2;
        match first_event(&file, middle, high)? {
            Some((at, end)) if at < time => low = end,
            _ => high = middle,
        }
    }
    Ok((place(low), place(high.max(low))))
}

/// When the first event of a part of a file was written, and where its line ends.
fn first_event(file: &File, from: u64, to: u64) -> io::Result<Option<(Timestamp, u64)>> {
    let mut reader = BufReader::new(file);
    let mut place = reader.seek(SeekFrom::Start(from))?;
    let mut lines = Lines::of(reader);
    let mut whole = from == 0; // elsewhere the first line is the rest of one
    while place < to && lines.advance()? == Got::Whole {
        place += lines.line.len() as u64;
        if whole && let Some(seen) = Seen::read(&lines.line) {
            return Ok(Some((seen.written(), place)));
        }
        whole = true;
    }
    Ok(None)
}
