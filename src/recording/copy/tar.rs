//! tar as `kubectl cp` moves it: which bytes are headers, and which are content.
//!
//! A header is what stands where one is due, behind as many bytes of content as the one before has said, with a
//! checksum that holds and numbers where numbers belong (POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU tar). From the
//! first block that is none there is no archive any more.

use std::ops::Range;

use crate::limits;

/// Bytes of a block, of which an archive is made.
pub const BLOCK_BYTES: usize = 512;

/// Where a header has its checksum: octal digits, NUL and a blank.
const CHECKSUM: Range<usize> = 148..156;

/// Where it says how long the content is.
const SIZE: Range<usize> = 124..136;

/// Mode, owner, group and time; numbers all.
const NUMBERS: [Range<usize>; 4] = [100..108, 108..116, 116..124, 136..148];

/// Where nothing stands, in any of the formats.
const PADDING: Range<usize> = 500..BLOCK_BYTES;

/// What a part of the stream is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part<'b> {
    /// A header, of [`BLOCK_BYTES`].
    Header {
        /// All of it.
        block: &'b [u8],
        /// The name of the member it begins; extended headers begin none.
        member: Option<&'b str>,
    },
    /// Content of a member or of an extended header, and what fills the last block of it.
    Content(&'b [u8]),
    /// Zeros behind the last member.
    End(&'b [u8]),
    /// What is no archive, nor is anything behind it.
    Other(&'b [u8]),
}

/// Reads one archive, in pieces of any size.
#[derive(Clone, Default)]
pub struct Reader {
    /// The header that is being read.
    block: Vec<u8>,
    /// Bytes of content and padding until the next header.
    skip: u64,
    /// The extended header that is being read.
    extended: Option<Extended>,
    /// What extended headers said about the next member.
    next: Next,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Members,
    Ended,
    Broken,
}

/// An extended header: a long name of GNU tar, or records of POSIX pax.
#[derive(Clone)]
struct Extended {
    is_pax: bool,
    content: Vec<u8>,
    left: u64,
    padding: u64,
}

/// What holds for the next member instead of what its header says.
#[derive(Clone, Debug, Default)]
struct Next {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Reader {
    /// Takes the next bytes; `part` gets all of them in order, but for a header that is not complete.
    pub fn push(&mut self, mut bytes: &[u8], part: &mut impl FnMut(Part<'_>)) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Broken => {
                    part(Part::Other(bytes));
                    return;
                }
                State::Ended => self.behind(bytes, part),
                State::Members if self.extended.is_some() || self.skip > 0 => {
                    let (content, rest) = self.content(bytes);
                    part(Part::Content(content));
                    rest
                }
                State::Members => self.header_bytes(bytes, part),
            };
        }
    }

    /// Nothing more is coming: the header that is not complete, which is none.
    pub fn rest(&mut self) -> Vec<u8> {
        if !self.block.is_empty() {
            self.state = State::Broken;
        }
        std::mem::take(&mut self.block)
    }

    /// Whether it is an archive up to its end.
    pub fn is_complete(&self) -> bool {
        match self.state {
            State::Ended => true,
            State::Broken => false,
            State::Members => self.block.is_empty() && self.skip == 0 && self.extended.is_none(),
        }
    }

    /// Whether it turned out to be none.
    pub fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// Archives are filled up with zeros, and nothing else follows one.
    fn behind<'b>(&mut self, bytes: &'b [u8], part: &mut impl FnMut(Part<'_>)) -> &'b [u8] {
        let other = bytes.iter().position(|byte| *byte != 0);
        let (zeros, rest) = bytes.split_at(other.unwrap_or(bytes.len()));
        if !zeros.is_empty() {
            part(Part::End(zeros));
        }
        if other.is_some() {
            self.state = State::Broken;
        }
        rest
    }

    fn content<'b>(&mut self, bytes: &'b [u8]) -> (&'b [u8], &'b [u8]) {
        let Some(mut extended) = self.extended.take() else {
            return take(&mut self.skip, bytes);
        };
        let (head, rest) = take(&mut extended.left, bytes);
        extended.content.extend_from_slice(head);
        if extended.left > 0 {
            self.extended = Some(extended);
        } else {
            self.skip = extended.padding;
            self.next.learn(extended);
        }
        (head, rest)
    }

    fn header_bytes<'b>(&mut self, bytes: &'b [u8], part: &mut impl FnMut(Part<'_>)) -> &'b [u8] {
        let wanted = BLOCK_BYTES
            .saturating_sub(self.block.len())
            .min(bytes.len());
        let (head, rest) = bytes.split_at(wanted);
        self.block.extend_from_slice(head);
        if self.block.len() == BLOCK_BYTES {
            let block = std::mem::take(&mut self.block);
            self.header(&block, part);
            self.block = block;
            self.block.clear();
        }
        rest
    }

    fn header(&mut self, block: &[u8], part: &mut impl FnMut(Part<'_>)) {
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::Ended; // two of them end an archive, and nothing but zeros follows one
            return part(Part::End(block));
        }
        let Some((kind, size)) = read_header(block) else {
            self.state = State::Broken;
            return part(Part::Other(block));
        };
        if matches!(kind, b'L' | b'x') && size <= limits::RECORDING_COPY_NAME_BYTES_MAX && size > 0
        {
            self.extended = Some(Extended {
                is_pax: kind == b'x',
                content: Vec::new(),
                left: size,
                padding: padding(size),
            });
        } else if matches!(kind, b'x' | b'g' | b'K' | b'L') {
            // What is left of them describes all members, or a link.
            self.skip = size.saturating_add(padding(size));
        } else {
            let next = std::mem::take(&mut self.next);
            // Links and folders have no content whatever their size says.
            if !(b'1'..=b'6').contains(&kind) {
                let size = next.size.unwrap_or(size);
                self.skip = size.saturating_add(padding(size));
            }
            let name = next.name.map_or_else(|| name(block), |name| text(&name));
            return part(Part::Header {
                block,
                member: Some(&name),
            });
        }
        part(Part::Header {
            block,
            member: None,
        });
    }
}

impl Next {
    fn learn(&mut self, extended: Extended) {
        if extended.is_pax {
            self.pax(&extended.content);
        } else {
            self.name = Some(extended.content);
        }
    }

    /// Reads records `LENGTH KEY=VALUE\n`, LENGTH being that of the whole record (POSIX pax).
    fn pax(&mut self, mut records: &[u8]) {
        while let Some(space) = records.iter().position(|byte| *byte == b' ') {
            let (digits, _) = records.split_at(space);
            let length = std::str::from_utf8(digits)
                .ok()
                .and_then(|it| it.parse().ok());
            // A record is longer than what says so: each turn takes something off.
            let length = length.filter(|length| *length > space);
            let Some((record, rest)) = length.and_then(|it| records.split_at_checked(it)) else {
                return;
            };
            let record = record.get(space.saturating_add(1)..).unwrap_or_default();
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(path) = record.strip_prefix(b"path=") {
                self.name = Some(path.to_vec());
            } else if let Some(size) = record.strip_prefix(b"size=") {
                self.size = std::str::from_utf8(size)
                    .ok()
                    .and_then(|it| it.parse().ok());
            }
            records = rest;
        }
    }
}

/// The type and the size that a header says; `None` if the block is none.
fn read_header(block: &[u8]) -> Option<(u8, u64)> {
    let field = |range: &Range<usize>| block.get(range.clone()).unwrap_or_default();
    let kind = *block.get(156)?;
    let well_formed = field(&(257..262)) == b"ustar"
        && (kind == 0 || kind.is_ascii_digit() || b"xgKL".contains(&kind))
        && NUMBERS.iter().all(|range| is_number(field(range)))
        && field(&PADDING).iter().all(|byte| *byte == 0);
    if !well_formed || number(field(&CHECKSUM))? != checksum(block) {
        return None;
    }
    Some((kind, number(field(&SIZE))?))
}

/// The sum of all bytes, those of the checksum itself counted as blanks.
fn checksum(block: &[u8]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    let blanks = u64::from(b' ').saturating_mul(CHECKSUM.len() as u64);
    let own = sum(block.get(CHECKSUM).unwrap_or_default());
    sum(block).saturating_sub(own).saturating_add(blanks)
}

fn name(block: &[u8]) -> String {
    let field = |from: usize, to: usize| text(block.get(from..to).unwrap_or_default());
    // GNU tar keeps times where POSIX has the beginning of a long name.
    let prefix = if block.get(262) == Some(&0) {
        field(345, 500)
    } else {
        String::new()
    };
    if prefix.is_empty() {
        field(0, 100)
    } else {
        format!("{prefix}/{}", field(0, 100))
    }
}

/// Takes at most `left` bytes off, and counts them.
fn take<'b>(left: &mut u64, bytes: &'b [u8]) -> (&'b [u8], &'b [u8]) {
    let length = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
    bytes.split_at(length)
}

/// Bytes that fill the last block of a content.
fn padding(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK_BYTES as u64)
        .map_or(0, |whole| whole.saturating_sub(size))
}

/// The text of a field, up to its first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(field.get(..end.unwrap_or(field.len())).unwrap_or_default())
        .into_owned()
}

/// Times before 1970 are binary, and no size.
fn is_number(field: &[u8]) -> bool {
    field.first().is_some_and(|first| first & 0x80 != 0) || number(field).is_some()
}

/// Octal digits, or big-endian binary for large numbers.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if *first & 0x80 != 0 {
        return rest
            .iter()
            .try_fold(u64::from(first & 0x7f), |value, byte| {
                value.checked_mul(256)?.checked_add(u64::from(*byte))
            });
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = digits.split_at(end.unwrap_or(digits.len()));
    if !rest.iter().all(|byte| matches!(byte, b' ' | 0)) {
        return None;
    }
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests;
