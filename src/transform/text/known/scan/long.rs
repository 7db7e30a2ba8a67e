//! Long values, which are masked as they come.

use super::super::forms::plain::{self, Unit};
use super::super::index::{Candidates, Index};
use super::{CONFIRMED_BYTES, End, SPAN_BYTES_MAX, WRITTEN_BYTES_MAX};

/// A value of which so much was equal that it can be no other text.
#[derive(Clone, Copy)]
pub(super) struct Long {
    /// The forms it may be; `None` since it is none.
    candidates: Option<Candidates>,
    /// The form that stands for all it may have been.
    form: u32,
    /// How many bytes were compared, or would have been.
    depth: usize,
    /// How many of them had been read when a group of base64 was completed behind them.
    filled: usize,
    /// So many more are masked before it matters whether they were equal.
    left: usize,
    /// Where it goes on.
    pub(super) at: usize,
}

/// What follows a whole form.
enum Further {
    /// More of a longer one, up to its next block or to where it is whole.
    Same(Long),
    /// Something else.
    Other,
    /// The text ends before it can be said.
    More,
}

impl Long {
    /// `depth` bytes before `at` were equal.
    pub(super) fn begun(index: &Index, candidates: Candidates, depth: usize, at: usize) -> Self {
        Self {
            candidates: Some(candidates),
            form: index.first(candidates),
            depth,
            filled: 0,
            left: CONFIRMED_BYTES - depth % CONFIRMED_BYTES,
            at,
        }
    }

    /// The form that stands for all it may be.
    pub(super) fn form(&self) -> u32 {
        self.form
    }

    /// Where it has ended for sure, however it is written.
    pub(super) fn ends_before(&self, index: &Index) -> usize {
        // How long it is itself must not be seen.
        self.at + WRITTEN_BYTES_MAX * index.longest()
    }

    /// Reads on, up to where it ends or the text does. Answers whether it may go on behind the text, and up to where it
    /// is masked.
    pub(super) fn read(&mut self, index: &Index, text: &[u8], end: End) -> (bool, usize) {
        let goes_on = self.read_on(index, text, end);
        // Nobody can wait for the rest of an escape.
        let cut = goes_on && end == End::Final && !self.is_whole(index).0;
        (goes_on, if cut { text.len() } else { self.at })
    }

    fn read_on(&mut self, index: &Index, text: &[u8], end: End) -> bool {
        loop {
            let (whole, longer) = self.is_whole(index);
            if whole && !longer {
                return false;
            }
            if whole {
                match self.further(index, text, end) {
                    Further::Same(further) => *self = further,
                    Further::More => return end != End::Last,
                    Further::Other => return false,
                }
                continue;
            }
            let unit = match text.get(self.at) {
                Some(_) => plain::read(text, self.at, end == End::Last),
                None => Unit::More,
            };
            let (candidates, count, width) = match unit {
                Unit::More => return end != End::Last,
                Unit::Nothing { width } => (self.candidates, 0, width),
                Unit::Is {
                    bytes,
                    count,
                    width,
                } => {
                    let bytes = bytes.into_iter().take(count).zip(self.depth..);
                    let narrow = |some: Option<Candidates>, (byte, depth)| {
                        some.and_then(|some| index.narrow(some, depth, byte))
                    };
                    (bytes.fold(self.candidates, narrow), count, width)
                }
            };
            self.at += width;
            self.candidates = candidates;
            self.depth += count;
            self.left = self.left.saturating_sub(count);
            if self.left == 0 {
                if candidates.is_none() {
                    return false;
                }
                self.left = CONFIRMED_BYTES;
            }
        }
    }

    /// Where a whole form ends, what follows is compared before it is masked, up to where the next block begins: else
    /// whoever stores the beginning of a value would see whether the next byte that they guess is right.
    fn further(&self, index: &Index, text: &[u8], end: End) -> Further {
        let mut long = *self;
        while long.at - self.at <= SPAN_BYTES_MAX {
            let unit = match text.get(long.at) {
                Some(_) => plain::read(text, long.at, end == End::Last),
                None => Unit::More,
            };
            let (bytes, count, width) = match unit {
                Unit::More => return Further::More,
                // Line breaks behind a whole form are none of its bytes.
                Unit::Nothing { width } => ([0; 4], 0, width),
                Unit::Is {
                    bytes,
                    count,
                    width,
                } => (bytes, count, width),
            };
            long.at += width;
            for byte in bytes.into_iter().take(count) {
                let same = |some| index.narrow(some, long.depth, byte);
                let Some(candidates) = long.candidates.and_then(same) else {
                    return Further::Other;
                };
                long.candidates = Some(candidates);
                long.depth += 1;
            }
            long.left = long.left.saturating_sub(count);
            if count > 0 && (long.left == 0 || long.is_whole(index).0) {
                if long.left == 0 {
                    long.left = CONFIRMED_BYTES;
                }
                return Further::Same(long);
            }
        }
        Further::Other
    }

    /// What completes a group of base64 behind what was masked, if that ends here. Behind a whole form it always does:
    /// whether a longer one may go on must not be seen.
    pub(super) fn filler(&mut self, index: &Index, goes_on: bool) -> &'static str {
        if goes_on && !self.is_whole(index).0 {
            return "";
        }
        let filler = match self.filled {
            0 => index.filler(self.form, self.depth),
            filled => index.further(self.form, self.depth - filled),
        };
        self.filled = self.depth;
        filler
    }

    /// Whether it is a whole form by now, and whether there is a longer one.
    fn is_whole(&self, index: &Index) -> (bool, bool) {
        let complete = |candidates| index.complete(candidates, self.depth);
        self.candidates.map_or((false, false), |candidates| {
            let (form, longer) = complete(candidates);
            (form.is_some(), longer)
        })
    }
}
