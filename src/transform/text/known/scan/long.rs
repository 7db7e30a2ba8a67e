//! Long values, which are masked as they come.

use std::ops::Range;
use std::sync::{Arc, Weak};

use super::super::forms::plain::{self, Unit};
use super::super::index::{Candidates, Index};
use super::{CONFIRMED_BYTES, End, SPAN_BYTES_MAX, WRITTEN_BYTES_MAX};

/// A value of which so much was equal that it can be no other text.
///
/// Where a whole form ends, what follows is only compared, up to where the next block begins, and masked if it was
/// equal: else whoever stores the beginning of a value would see whether the next byte that they guess is right.
/// A value is read to the end of its block whatever comes, so how many are being read says nothing either.
pub(super) struct Long {
    /// The values that were known when it began: with newer ones, it would go on otherwise if it was equal up to now.
    index: Weak<Index>,
    /// How many bytes may stand for the longest of them.
    written_max: usize,
    /// The forms it may be; `None` since it is none.
    candidates: Option<Candidates>,
    /// The form that stands for all it may have been.
    form: u32,
    /// The bytes by which it was found, while they are held.
    found: Option<Range<usize>>,
    /// Up to where it was read.
    read: Place,
    /// Up to where it is masked.
    masked: Place,
    /// Whether a whole form ended where it is masked up to, so that the rest of the block is only compared.
    whole: bool,
    /// So many more bytes, and the block ends.
    left: usize,
    /// How many of its bytes had been read when a group of base64 was completed behind them.
    filled: usize,
}

/// A place within a long value.
#[derive(Clone, Copy)]
struct Place {
    /// Where in the text.
    at: usize,
    /// Behind so many of its bytes.
    depth: usize,
}

impl Long {
    /// One of which `found` are the first bytes, which stand for `depth` of its own.
    pub(super) fn begun(
        index: &Arc<Index>,
        candidates: Candidates,
        found: Range<usize>,
        depth: usize,
    ) -> Self {
        let place = Place {
            at: found.end,
            depth,
        };
        Self {
            form: index.first(candidates),
            candidates: Some(candidates),
            found: Some(found),
            read: place,
            masked: place,
            whole: index.complete(candidates, depth).0.is_some(),
            left: CONFIRMED_BYTES - depth % CONFIRMED_BYTES,
            filled: 0,
            written_max: WRITTEN_BYTES_MAX * index.longest(),
            index: Arc::downgrade(index),
        }
    }

    /// The values it is one of, if they still are in memory.
    pub(super) fn index(&self) -> Option<Arc<Index>> {
        self.index.upgrade()
    }

    /// The form that stands for all it may be.
    pub(super) fn form(&self) -> u32 {
        self.form
    }

    /// Where it has ended for sure, however it is written.
    pub(super) fn ends_before(&self) -> usize {
        // How long it is itself must not be seen.
        self.read.at + self.written_max
    }

    /// Whether it is the same as one that is found.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.found == other.found
    }

    /// Up to where it was read.
    pub(super) fn read_until(&self) -> usize {
        self.read.at
    }

    /// Up to where it is masked. Behind that it may go on.
    pub(super) fn masked_until(&self) -> usize {
        self.masked.at
    }

    /// The text that it stands in begins `by` bytes later than it did.
    pub(super) fn move_forward(&mut self, by: usize) {
        let forward = |found: Range<usize>| found.start + by..found.end + by;
        self.found = self.found.take().map(forward);
        self.read.at += by;
        self.masked.at += by;
    }

    /// Of the text that it stands in the first `by` bytes are forgotten.
    pub(super) fn move_back(&mut self, by: usize) {
        let back = |found: Range<usize>| Some(found.start.checked_sub(by)?..found.end - by);
        self.found = self.found.take().and_then(back);
        self.read.at = self.read.at.saturating_sub(by);
        self.masked.at = self.masked.at.saturating_sub(by);
    }

    /// Reads on with the values it is one of, up to where it ends or the text does. Answers whether it may go on behind
    /// the text, up to where it is masked, and what completes a group of base64 there.
    pub(super) fn read(
        &mut self,
        index: &Index,
        text: &[u8],
        end: End,
    ) -> (bool, usize, &'static str) {
        let goes_on = self.read_on(index, text, end);
        if goes_on && !self.whole {
            // Nobody can wait for the rest of an escape.
            let until = if end == End::Final {
                text.len()
            } else {
                self.masked.at
            };
            return (goes_on, until, "");
        }
        let filler = match self.filled {
            0 => index.filler(self.form, self.masked.depth),
            filled => index.further(self.form, self.masked.depth - filled),
        };
        self.filled = self.masked.depth;
        (goes_on, self.masked.at, filler)
    }

    fn read_on(&mut self, index: &Index, text: &[u8], end: End) -> bool {
        while self.read.at - self.masked.at <= SPAN_BYTES_MAX {
            let unit = match text.get(self.read.at) {
                Some(_) => plain::read(text, self.read.at, end == End::Last),
                None => Unit::More,
            };
            let (bytes, count, width) = match unit {
                Unit::More => return end != End::Last,
                Unit::Nothing { width } => ([0; 4], 0, width),
                Unit::Is {
                    bytes,
                    count,
                    width,
                } => (bytes, count, width),
            };
            for byte in bytes.into_iter().take(count) {
                let same = |some| index.narrow(some, self.read.depth, byte);
                self.candidates = self.candidates.and_then(same);
                self.read.depth += 1;
            }
            self.read.at += width;
            self.left = self.left.saturating_sub(count);
            let whole = count > 0 && self.is_whole(index);
            let equal = self.candidates.is_some();
            if !self.whole || whole || self.left == 0 && equal {
                self.masked = self.read;
            }
            if self.left == 0 {
                if !equal {
                    return false;
                }
                self.left = CONFIRMED_BYTES;
                self.whole = false;
            }
            self.whole |= whole;
        }
        false
    }

    /// Whether it is a whole form by now.
    fn is_whole(&self, index: &Index) -> bool {
        let complete = |candidates| index.complete(candidates, self.read.depth).0;
        self.candidates.and_then(complete).is_some()
    }
}
