//! Reads recordings back: all parts as one stream of events, a line at a time.
//!
//! [`filter`] lets only drawing through to a terminal, [`transcript`] makes lines of text out of it,
//! [`export`] writes files, [`player`] knows when what is due, [`search`] finds texts, [`files`] finds recordings on disk.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, Read as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::encode::{RAW, STDERR};
use super::metadata::Metadata;
use crate::limits;
use crate::wire::asciicast::{Clock, Event, OUTPUT, ParsedHeader, Version};

pub mod escape;
pub mod export;
pub mod files;
pub mod filter;
pub mod player;
pub mod search;
pub mod transcript;

/// One part of a recording, from its beginning.
pub type PartReader = Box<dyn BufRead>;

/// The parts of a recording, in order; each is opened when it is its turn.
pub type Parts = Box<dyn Iterator<Item = io::Result<PartReader>>>;

/// A recording that consists of one part.
pub fn one_part(part: impl BufRead + 'static) -> Parts {
    Box::new(std::iter::once(Ok(Box::new(part) as PartReader)))
}

/// What happened at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the beginning; never before the moment before.
    pub at: Duration,
    /// What it is: a code of asciicast, or one of ours.
    pub code: String,
    /// What it carries.
    pub data: String,
    /// Whether it is output that went to stderr.
    pub stderr: bool,
    /// Its exact bytes, when they are not UTF-8.
    pub raw: Option<Vec<u8>>,
}

/// A recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file could not be read.
    #[error("cannot read the recording: {0}")]
    Io(#[from] io::Error),
    /// The first line is not the header of an asciicast.
    #[error("this is not a recording: {reason}; expected asciicast v2 or v3")]
    Header {
        /// What is wrong with the line.
        reason: String,
    },
}

/// What a reader of the recording should know besides its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    /// The last line is not complete: the recording is cut off, or still being written.
    pub unfinished: bool,
    /// Lines that are no events and were left out.
    pub damaged: u64,
}

impl fmt::Display for Flaws {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unfinished =
            "the recording ends in the middle of a line: it is truncated, or still being written";
        match (self.unfinished, self.damaged) {
            (false, 0) => Ok(()),
            (true, 0) => out.write_str(unfinished),
            (false, lines) => write!(out, "{lines} damaged lines were left out"),
            (true, lines) => write!(out, "{unfinished}; {lines} damaged lines were left out"),
        }
    }
}

/// Reads a recording from its beginning to its end. Holds a few lines, whatever its size.
pub struct Reader {
    parts: Parts,
    part: Option<PartReader>,
    header: ParsedHeader,
    first_line: Vec<u8>,
    clock: Clock,
    at: Duration,
    line: Vec<u8>,
    ahead: VecDeque<Event>,
    flaws: Flaws,
}

impl Reader {
    /// Reads the header of the first part.
    pub fn new(mut parts: Parts) -> Result<Self, ReadError> {
        let Some(part) = parts.next() else {
            return Err(header_error("it has no parts"));
        };
        let mut part = part?;
        let mut first_line = Vec::new();
        let header = read_header(&mut part, &mut first_line)?;
        Ok(Self {
            parts,
            part: Some(part),
            clock: Clock::new(header.version),
            header,
            first_line,
            at: Duration::ZERO,
            line: Vec::new(),
            ahead: VecDeque::new(),
            flaws: Flaws::default(),
        })
    }

    /// What the header says that players use.
    pub fn header(&self) -> &ParsedHeader {
        &self.header
    }

    /// What Portcullis says in the header; nothing in the recordings of others.
    pub fn metadata(&self) -> Option<Metadata> {
        serde_json::from_str(self.header.metadata.as_deref()?).ok()
    }

    /// What was wrong with what was read so far.
    pub fn flaws(&self) -> Flaws {
        self.flaws
    }

    /// The next moment; nothing when the recording is over.
    pub fn next_moment(&mut self) -> Result<Option<Moment>, ReadError> {
        let Some(event) = self.next_event()? else {
            return Ok(None);
        };
        self.at = self.clock.at(&event).max(self.at);
        let mut moment = Moment {
            at: self.at,
            code: event.code,
            data: event.data,
            stderr: false,
            raw: None,
        };
        // What our own codes say about the line before belongs to it.
        while let Some(event) = self.peek_event()? {
            match event.code.as_str() {
                STDERR if moment.code == OUTPUT => moment.stderr = true,
                RAW => moment.raw = BASE64.decode(&event.data).ok(),
                _ => break,
            }
            if let Some(event) = self.next_event()? {
                self.clock.at(&event);
            }
        }
        Ok(Some(moment))
    }

    /// The line of the first header, with its line break.
    fn header_line(&self) -> &[u8] {
        &self.first_line
    }

    /// The next line that is an event, as it stands in the file; to be used instead of
    /// [`Self::next_moment`], not together with it.
    fn next_line(&mut self) -> Result<Option<&[u8]>, ReadError> {
        Ok(self.read_event()?.is_some().then_some(&self.line))
    }

    fn peek_event(&mut self) -> Result<Option<&Event>, ReadError> {
        if self.ahead.is_empty()
            && let Some(event) = self.read_event()?
        {
            self.ahead.push_back(event);
        }
        Ok(self.ahead.front())
    }

    fn next_event(&mut self) -> Result<Option<Event>, ReadError> {
        match self.ahead.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.read_event(),
        }
    }

    /// Reads on until there is an event; goes on with the next part at the end of one.
    fn read_event(&mut self) -> Result<Option<Event>, ReadError> {
        while let Some(part) = &mut self.part {
            match read_line(part, &mut self.line)? {
                Line::End => self.open_next()?,
                Line::TooLong => self.flaws.damaged += 1,
                Line::Read if self.line.trim_ascii().is_empty() => {}
                Line::Read if self.header.version == Version::V3 && self.line.starts_with(b"#") => {
                }
                Line::Read => match Event::parse(&self.line) {
                    Ok(event) => return Ok(Some(event)),
                    Err(_) if self.line.ends_with(b"\n") => self.flaws.damaged += 1,
                    Err(_) => self.flaws.unfinished = true,
                },
            }
        }
        Ok(None)
    }

    /// A part whose header is not what it should be has events all the same; a crash between two parts leaves
    /// one with half a header or none.
    fn open_next(&mut self) -> Result<(), ReadError> {
        self.part = None;
        let Some(part) = self.parts.next() else {
            return Ok(());
        };
        let mut part = part?;
        match read_line(&mut part, &mut self.line)? {
            Line::Read if ParsedHeader::parse(&self.line).is_ok() => {}
            Line::Read if self.line.ends_with(b"\n") => self.flaws.damaged += 1,
            Line::TooLong => self.flaws.damaged += 1,
            Line::Read | Line::End => self.flaws.unfinished = true,
        }
        self.part = Some(part);
        Ok(())
    }
}

enum Line {
    Read,
    TooLong,
    End,
}

/// Reads a line, which may lack its line break at the end of the file.
fn read_line(part: &mut PartReader, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let max = limits::RECORDING_LINE_BYTES_MAX;
    let read = part.by_ref().take(max).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if line.ends_with(b"\n") || (read as u64) < max {
        return Ok(Line::Read);
    }
    while !line.ends_with(b"\n") {
        line.clear();
        if part.by_ref().take(max).read_until(b'\n', line)? == 0 {
            break;
        }
    }
    Ok(Line::TooLong)
}

fn read_header(part: &mut PartReader, line: &mut Vec<u8>) -> Result<ParsedHeader, ReadError> {
    match read_line(part, line)? {
        Line::Read => ParsedHeader::parse(line).map_err(|error| header_error(&error.to_string())),
        Line::TooLong => Err(header_error("its first line is too long")),
        Line::End => Err(header_error("it is empty")),
    }
}

fn header_error(reason: &str) -> ReadError {
    ReadError::Header {
        reason: filter::visible(reason),
    }
}

/// `1:02:03.250`, for people.
#[must_use]
pub fn clock_face(at: Duration) -> String {
    let seconds = at.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let (seconds, millis) = (seconds % 60, at.subsec_millis());
    format!("{hours}:{minutes:02}:{seconds:02}.{millis:03}")
}

#[cfg(test)]
mod tests;
